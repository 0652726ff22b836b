"""Previews: what a model writes for a few validation papers while it is trained, to be read in previews.md."""

import copy
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
from metareview.generation.outputs import Output

PREVIEWS = "previews.md"
SHARE = 0.04  # of the time of a run, at most, for previews: half of it for the first, before there is a run
PASSES = 3  # through the model that an example takes in training, where it takes one in an evaluation


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

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.start, self.spent, self.complete = time.perf_counter(), 0.0, 0.0  # seconds; what complete texts take

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **event: Any) -> None:
        """Write the texts of a step; between the first and the last only if there is time for complete ones."""
        began = time.perf_counter()
        if state.global_step:
            seconds = SHARE * (began - self.start) - self.spent
        else:
            examples = state.max_steps * args.train_batch_size * args.gradient_accumulation_steps
            seconds = SHARE / 2 * PASSES * examples / event["metrics"]["eval_samples_per_second"]
        is_last = control.should_training_stop or state.global_step >= state.max_steps
        if state.global_step and not is_last and seconds < self.complete:
            return
        try:
            outputs = self._write(event["model"], began + seconds)
        except Exception as error:  # whatever a model's code raises: the training is worth more
            tqdm.write(f"  No preview ({error}); PREVIEWS = 0 turns them off.")
            return
        texts = [output.text + ("" if output.stopped else " [not ended]") for output in outputs]
        for number, text in enumerate(texts, start=1):
            tqdm.write(f"  paper {number}: {shorten(text, 100, placeholder=' ...')}")
        _keep(Path(args.output_dir, PREVIEWS), state.global_step, state.epoch or 0, texts, self.references)
        self.complete = time.perf_counter() - began
        self.spent += self.complete
        if self.complete > seconds:  # the texts are broken off
            self.complete *= self.max_new_tokens / max(output.tokens for output in outputs)

    def _write(self, model: PreTrainedModel, deadline: float) -> list[Output]:
        """What the model writes for each prompt, broken off after the deadline, in seconds of `perf_counter`."""
        # The Trainer has replaced the model's forward by one that casts all weights to half precision each time: for
        # every token. A copy that shares the weights has the class's own again.
        writer = copy.copy(model)
        writer.__dict__.pop("forward", None)
        arguments = self.max_new_tokens, len(self.prompts), Decoding(no_repeat_ngram=4), self.ends
        written = generate(writer, self.tokenizer, self.prompts, *arguments, deadline=deadline)
        return [output for _, output in sorted(written)]


def _keep(path: Path, step: int, epoch: float, texts: list[str], references: list[str]) -> None:
    """Add the texts of a step to the file, without those of later steps, which a resumed run writes again."""
    kept = path.read_text(encoding="utf-8") if step and path.exists() else _format("References", references)
    titles = re.finditer(r"(?m)^# Step ([\d,]+)", kept)
    later = [title.start() for title in titles if int(title[1].replace(",", "")) >= step]
    kept = kept[: min(later, default=len(kept))]
    title = f"Step {step:,}" + (f", epoch {epoch:g}" if step else ": the base")
    with replacing(path) as new:
        new.write_text(kept + _format(title, texts), encoding="utf-8")


def _format(title: str, texts: list[str]) -> str:
    """Texts below a heading; indented, so that nothing in them is taken for a heading."""
    papers = [f"## Paper {number}\n\n{indent(text, '    ')}\n" for number, text in enumerate(texts, start=1)]
    return "\n".join([f"# {title}\n", *papers]) + "\n"
