"""Decoding: how the next token is chosen."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LogitsProcessorList


@dataclass(frozen=True)
class Decoding:
    """How texts are decoded, the same for all models that are compared; by default, plain greedy decoding.

    All of it looks at the generated text only. The library's settings of the same names, `no_repeat_ngram_size` and
    `repetition_penalty`, also look at the prompt: with them, a name of several tokens cannot be taken from the reviews.
    """

    no_repeat_ngram: int = 0  # tokens; 0: no n-gram is blocked
    repetition_penalty: float = 1.0  # Keskar et al. 2019
    num_beams: int = 1
    temperature: float = 0.0  # 0: no sampling
    seed: int = 42  # of the sampling

    def __post_init__(self) -> None:
        for name, least in {"no_repeat_ngram": 0, "repetition_penalty": 1, "num_beams": 1, "temperature": 0}.items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"--{name} must be at least {least} and finite, got {getattr(self, name)}")
        if self.temperature and self.num_beams > 1:
            raise ValueError("--temperature samples, --num_beams looks for the likeliest text: choose one of them")

    def identify(self) -> dict[str, Any]:
        """The settings that change a text: temperature and seed only with sampling."""
        settings = asdict(self)
        if not self.temperature:
            del settings["temperature"], settings["seed"]
        return settings

    def make_processors(self, prompt_length: int, prompts: Sequence[list[int]] = ()) -> "LogitsProcessorList":
        """The logits processors for prompts that are padded on the left to this many tokens.

        The `prompts` themselves (token ids) are only needed for sampling.
        """
        from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor  # flags are checked without

        from metareview.generation.processors import NoRepeatedNgram, SeededSampling

        processors = LogitsProcessorList()
        if self.repetition_penalty != 1:
            processors.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty, prompt_length))
        if self.no_repeat_ngram:
            processors.append(NoRepeatedNgram(self.no_repeat_ngram, prompt_length))
        if self.temperature:
            processors.append(SeededSampling(self.temperature, self.seed, prompts, prompt_length))
        return processors

    def describe(self) -> list[str]:
        """The settings in words, for the log of runs."""
        words = ["greedy" if self.num_beams == 1 else f"{self.num_beams} beams"]
        if self.temperature:
            words = [f"sampled at temperature {self.temperature:g} with seed {self.seed}"]
        if self.no_repeat_ngram:
            words.append(f"no repeated {self.no_repeat_ngram}-gram")
        if self.repetition_penalty != 1:
            words.append(f"repetition penalty {self.repetition_penalty:g}")
        return words
