"""Decoding: how the next token is chosen, looking at the generated text alone."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)


@dataclass(frozen=True)
class Decoding:
    """How texts are decoded, the same for all models that are compared; by default, plain greedy decoding.

    The library's settings of the same names, `no_repeat_ngram_size` and `repetition_penalty`, also look at the prompt:
    with them, a name of several tokens cannot be taken from the reviews.
    """

    no_repeat_ngram: int = 0  # tokens; 0: no n-gram is blocked
    repetition_penalty: float = 1.0  # Keskar et al. 2019
    num_beams: int = 1
    temperature: float = 0.0  # 0: no sampling
    seed: int = 42  # of the sampling

    def identify(self) -> dict[str, Any]:
        """The settings that change a text: temperature and seed only with sampling."""
        settings = asdict(self)
        if not self.temperature:
            del settings["temperature"], settings["seed"]
        return settings

    def make_processors(self, prompt_length: int, prompts: Sequence[list[int]] = ()) -> LogitsProcessorList:
        """The logits processors for prompts that are padded on the left to this many tokens.

        The `prompts` themselves (token ids) are only needed for sampling.
        """
        processors = LogitsProcessorList()
        if self.repetition_penalty != 1:
            processors.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty, prompt_length))
        if self.no_repeat_ngram:
            processors.append(_NoRepeatedNgram(self.no_repeat_ngram, prompt_length))
        if self.temperature:
            processors.append(_SeededSampling(self.temperature, self.seed, prompts, prompt_length))
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


class _NoRepeatedNgram(NoRepeatNGramLogitsProcessor):
    """Blocks every token that would complete an n-gram for the second time (Paulus et al. 2018, section 2.5)."""

    def __init__(self, size: int, prompt_length: int) -> None:
        super().__init__(size)
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return super().__call__(input_ids[:, self.prompt_length :].cpu(), scores)  # it reads them one by one


class _SeededSampling(LogitsProcessor):
    """Makes greedy decoding sample from the softmax of the scores, by adding Gumbel noise (Maddison et al. 2014).

    The noise follows from the seed, the prompt (token ids) and the number of the token, so that a text does not depend
    on the others in its batch.
    """

    def __init__(self, temperature: float, seed: int, prompts: Sequence[list[int]], prompt_length: int) -> None:
        self.temperature, self.prompt_length = temperature, prompt_length
        self.names = [hashlib.sha256(json.dumps([seed, prompt]).encode()).hexdigest() for prompt in prompts]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.empty(scores.shape)
        for row, name in zip(noise, self.names, strict=True):
            digest = hashlib.sha256(f"{name} {input_ids.shape[1] - self.prompt_length}".encode()).digest()
            row.exponential_(generator=torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True)))
        return scores / self.temperature - noise.log().to(scores.device)
