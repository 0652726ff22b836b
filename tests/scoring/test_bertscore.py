"""BERTScore: by plain loops, by the original package, and what an encoder cannot read."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    BertTokenizer,
    RobertaConfig,
    RobertaModel,
)

from metareview.common.cli import InputError
from metareview.generation.outputs import Output
from metareview.scoring import bertscore as module
from metareview.scoring.bertscore import bertscore
from metareview.scoring.comparison import average_scores
from metareview.scoring.metrics import score_systems

WORDS = [
    "the",
    "a",
    "paper",
    "proof",
    "method",
    "baseline",
    "is",
    "good",
    "bad",
    "lacks",
    "new",
    "work",
    "##s",
    ".",
    ",",
]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
PAIRS = [("The paper is good.", "a good paper"), ("the proof lacks works", "The method, unheard of, lacks baselines.")]


def save_tokenizer(folder: Path, **options: int) -> int:
    """A WordPiece tokenizer of a few words; returns the size of its vocabulary."""
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    BertTokenizer(vocabulary, **options).save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A random BERT that reads 12 tokens, two of them special, and whose embeddings differ from word to word."""
    torch.manual_seed(0)
    size = save_tokenizer(tmp_path, model_max_length=12)  # which the original package needs
    BertModel(BertConfig(vocab_size=size, max_position_embeddings=12, initializer_range=0.5, **SIZES)).save_pretrained(
        tmp_path
    )
    return str(tmp_path)


@pytest.mark.parametrize("layer", [-1, 1])
@pytest.mark.parametrize(("text", "reference"), PAIRS)
def test_it_is_what_plain_loops_say(
    text: str, reference: str, layer: int, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.LAYERS, Path(encoder).name, layer)
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder)
    tokens = []
    for words in (text, reference):
        ids = tokenizer(words, return_tensors="pt", truncation=True, max_length=12)
        tokens.append(model(**ids, output_hidden_states=True).hidden_states[layer][0].tolist())

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5

    means = []
    for some, others in (tokens, tokens[::-1]):  # those between [CLS] and [SEP] count; these two may be matched
        best = [max(similarity(one, other) for other in others) for one in some[1:-1]]
        means.append(sum(best) / len(best))
    precision, recall = means
    expected = (precision, recall, 2 * precision * recall / (precision + recall))
    assert bertscore(text, reference, encoder) == pytest.approx(expected, abs=1e-5)


def test_it_is_what_the_original_package_says(encoder: str) -> None:
    original = pytest.importorskip("bert_score")
    expected = original.score(*map(list, zip(*PAIRS, strict=True)), model_type=encoder, num_layers=3, device="cpu")
    for (text, reference), *scores in zip(PAIRS, *expected, strict=True):
        assert bertscore(text, reference, encoder) == pytest.approx(torch.stack(scores).tolist(), abs=1e-5)


def test_identical_texts_have_one_and_empty_ones_nothing(encoder: str) -> None:
    assert bertscore("a new proof", "a new proof", encoder) == pytest.approx((1, 1, 1))
    for text, reference in (("", "a"), ("a", " \n"), ("", ""), ("\x07", "a")):
        assert bertscore(text, reference, encoder) == (0, 0, 0)


def test_what_is_longer_than_the_encoder_reads_is_left_out(encoder: str, tmp_path: Path) -> None:
    long, begin = "a proof lacks " * 20, "a proof lacks a proof lacks a proof lacks a"
    assert bertscore(long, "the method", encoder) == bertscore(begin, "the method", encoder)
    folder = tmp_path / "roberta"  # two of its 14 positions are before the first token
    size = save_tokenizer(folder)
    RobertaModel(RobertaConfig(vocab_size=size, max_position_embeddings=14, **SIZES)).save_pretrained(folder)
    assert bertscore(long, "the method", str(folder)) == bertscore(begin, "the method", str(folder))


def test_each_system_is_scored_and_a_reference_is_embedded_once(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded, embed = [], module.embed

    def embed_and_note(text: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        embedded.append(text)
        return embed(text, name)

    monkeypatch.setattr(module, "embed", embed_and_note)
    outputs = {name: [Output(f"{name} paper", True, 2)] * 3 for name in ("good", "bad")}
    cases = ["a new method"] * 3, ["the proof is new", "a baseline is good", ""], "a-zA-Z", [""] * 3
    results = score_systems(outputs, *cases, encoder=encoder)
    assert embedded.count("the proof is new") == 2  # as the reference of all, and as other paper
    for system in ("good", "bad", "lead", "other paper"):
        *scores, without = [case["bertscore"] for case in results[system]]
        texts = [case["text"] for case in results[system][:2]]
        assert without is None and scores == [
            bertscore(text, reference, encoder)[2] for text, reference in zip(texts, cases[1], strict=False)
        ]
    assert "bertscore" not in average_scores(results)["reference"]
    assert "bertscore" not in average_scores(score_systems(outputs, *cases))["good"]


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^cannot read the encoder BERTSCORE_MODEL 'no/such': "):
        module.load_encoder("no/such")
    size = save_tokenizer(tmp_path)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    BartModel(BartConfig(vocab_size=size, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="is no encoder alone; choose one such as roberta-large"):
        module.load_encoder(str(tmp_path))
