"""What a model has learned: hashes of the texts that it was trained on, saved with it.

A test case that is among them shows what the model remembers, not what it can do.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from unicodedata import normalize

from datasets import Dataset
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.common.hub import reading
from metareview.data.cleaning import REVIEW_JOINER
from metareview.data.placeholders import read_back
from metareview.data.prompts import PLAIN_COMPLETION

LEARNED = "learned.hashes"  # in the folder of a model: sorted hashes of HASH_BYTES each
HASH_BYTES = 8


def hash_text(text: str) -> bytes:
    """A hash of the letters and digits of a text, without case: the same however the text was cleaned.

    Accents are removed, as in cleaning. Letters beyond ASCII count only if most letters are: KEEP often removes them.
    """
    folded = "".join(filter(str.isalnum, normalize("NFKD", text).lower()))
    plain = re.sub("[^a-z0-9]", "", folded)
    kept = plain if len(plain) > len(folded) / 2 else folded
    return blake2b(kept.encode(), digest_size=HASH_BYTES).digest()


def hash_training_texts(
    texts: Dataset | None,
    examples: Dataset,
    tokenizer: Tokenizer,
    completion: str = PLAIN_COMPLETION,
    before: frozenset[bytes] = frozenset(),
) -> bytes:
    """The content of LEARNED for a training split: of its rows `texts` or, without them, of the labels of `examples`.

    Those are summaries only, each in a `completion`. `before` is what the base has learned already.
    """
    if texts is not None:
        hashes = [*map(hash_reviews, texts["review"]), *map(hash_text, texts["summary"])]
    else:
        labels = [[token for token in row if token >= 0] for row in examples["labels"]]
        written = tokenizer.batch_decode(labels, skip_special_tokens=True)
        hashes = [hash_text(read_back(completion, text)["summary"]) for text in written]
    return b"".join(sorted(before.union(hashes)))


def hash_reviews(review: str) -> bytes:
    """A hash of the cleaned reviews of a paper, the same in any order of the reviews."""
    return blake2b(b"".join(sorted(map(hash_text, review.split(REVIEW_JOINER)))), digest_size=HASH_BYTES).digest()


def find_learned(learned: frozenset[bytes], reviews: Sequence[str], references: Sequence[str]) -> list[int]:
    """The cases of which a model has learned the cleaned reviews or the reference; an empty one is not known."""
    cases = enumerate(zip(reviews, references, strict=True))
    return [
        case
        for case, (review, reference) in cases
        if hash_reviews(review) in learned or (reference and hash_text(reference) in learned)
    ]


def load_learned(model: str | Path) -> frozenset[bytes]:
    """The hashes of what a model, a folder, a checkpoint in it or a Hub id, was trained on; empty for a base."""
    folder = Path(model)
    path = (folder.parent if re.fullmatch(r"checkpoint-\d+", folder.name) else folder) / LEARNED
    if not folder.is_dir():
        with reading("model", str(model)), suppress(EntryNotFoundError):  # there, or in the cache without a network
            path = Path(hf_hub_download(str(model), LEARNED))
    content = path.read_bytes() if path.is_file() else b""
    return frozenset(content[start : start + HASH_BYTES] for start in range(0, len(content), HASH_BYTES))
