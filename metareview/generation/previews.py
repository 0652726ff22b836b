"""Previews: what a model writes for a few validation papers while it is trained, to be read in previews.md."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent, shorten
from typing import Any

from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedModel, TrainingArguments
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from metareview.common.files import replacing
from metareview.data.tokenization import IGNORE_INDEX
from metareview.generation.batches import generate
from metareview.generation.decoding import Decoding

PREVIEWS = "previews.md"
SHARE = 0.03  # of the training time: previews that would take more are left out, but for the first and the last


class Previews(TrainerCallback):
    """At each evaluation the model writes for the first `number` of the tokenized `examples`.

    The first line of each text is printed; the complete texts are in PREVIEWS in the output folder, after the
    reference and what the base wrote. Nothing is drawn at random, so the weights are those of a run without previews.
    """

    def __init__(
        self, examples: Dataset, number: int, tokenizer: Tokenizer, max_new_tokens: int, ends: Sequence[int]
    ) -> None:
        self.tokenizer, self.max_new_tokens, self.ends = tokenizer, max_new_tokens, ends
        self.prompts, self.references = [], []
        for example in examples.take(min(number, len(examples))):
            read = sum(label == IGNORE_INDEX for label in example["labels"])
            self.prompts.append(example["input_ids"][:read])
            self.references.append(tokenizer.decode(example["input_ids"][read:], skip_special_tokens=True))
        self.start, self.spent = time.perf_counter(), 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        self.start, self.spent = time.perf_counter(), 0.0

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: PreTrainedModel, **_: Any
    ) -> None:
        """Write the texts of a step."""
        began = time.perf_counter()
        is_between = 0 < state.global_step < state.max_steps
        if is_between and self.spent > SHARE * (began - self.start):
            return
        texts = self._write(model)
        for number, text in enumerate(texts, start=1):
            tqdm.write(f"  paper {number}: {shorten(text, 100, placeholder=' ...')}")
        _keep(Path(args.output_dir, PREVIEWS), state.global_step, state.epoch or 0, texts, self.references)
        self.spent += time.perf_counter() - began

    def _write(self, model: PreTrainedModel) -> list[str]:
        """The text for each prompt."""
        was_training, config = model.training, model.generation_config
        model.eval()
        # One at a time: in the half precision of training, a batch could not be told from one that changes texts.
        arguments = self.max_new_tokens, 1, Decoding(no_repeat_ngram=4), self.ends
        try:
            written = dict(generate(model, self.tokenizer, self.prompts, *arguments))
        finally:
            model.generation_config = config
            model.train(was_training)
        return [
            written[index].text + ("" if written[index].stopped else " [not ended]") for index in range(len(written))
        ]


def _keep(path: Path, step: int, epoch: float, texts: list[str], references: list[str]) -> None:
    """Add the texts of a step to the file, without those of later steps, which a resumed run writes again."""
    kept = path.read_text(encoding="utf-8") if step and path.exists() else ""
    sections = re.split(r"(?m)^(?=# Step )", kept)
    if not sections[0]:
        sections[0] = _format("References", references)
    known = [
        section for section in sections[1:] if int(re.match(r"# Step ([\d,]+)", section)[1].replace(",", "")) < step
    ]
    title = f"Step {step:,}" + (f", epoch {epoch:g}" if step else ": the base")
    with replacing(path) as new:
        new.write_text("".join([sections[0], *known, _format(title, texts)]), encoding="utf-8")


def _format(title: str, texts: list[str]) -> str:
    """Texts below a heading; indented, so that nothing in them is taken for a heading."""
    papers = [f"## Paper {number}\n\n{indent(text, '    ')}\n" for number, text in enumerate(texts, start=1)]
    return "\n".join([f"# {title}\n", *papers]) + "\n"
