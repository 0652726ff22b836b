"""Decoding: how the next token is chosen, and what may not be said twice."""

from dataclasses import dataclass

import torch
from transformers import LogitsProcessor, LogitsProcessorList, RepetitionPenaltyLogitsProcessor


@dataclass(frozen=True)
class Decoding:
    """How texts are decoded, the same for all models that are compared; as it is, plain greedy decoding.

    All of it looks at what is generated only. The library's settings of the same names, `no_repeat_ngram_size` and
    `repetition_penalty`, look at the prompt too: there a name of several tokens could not be taken from the reviews.
    """

    no_repeat_ngram: int = 0  # tokens; 0: anything may be said twice
    repetition_penalty: float = 1.0  # Keskar et al. 2019
    num_beams: int = 1

    def __post_init__(self) -> None:
        for name, least in (("no_repeat_ngram", 0), ("repetition_penalty", 1), ("num_beams", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}, got {getattr(self, name)}")

    def make_processors(self, prompt_length: int) -> LogitsProcessorList:
        """What changes the scores of the next token, for prompts that are padded to this length on the left."""
        processors = LogitsProcessorList()
        if self.repetition_penalty != 1:
            processors.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty, prompt_length))
        if self.no_repeat_ngram:
            processors.append(NoRepeatedNgram(self.no_repeat_ngram, prompt_length))
        return processors

    def describe(self) -> list[str]:
        """In words, for the log of runs."""
        words = ["greedy" if self.num_beams == 1 else f"{self.num_beams} beams"]
        if self.no_repeat_ngram:
            words.append(f"no {self.no_repeat_ngram}-gram twice")
        if self.repetition_penalty != 1:
            words.append(f"penalty {self.repetition_penalty:g}")
        return words


class NoRepeatedNgram(LogitsProcessor):
    """Forbids every token that would end an n-gram which stands in the same generated text already.

    The rule of Paulus et al. 2018, section 2.5, for what is generated alone: what the prompt says can be said once.
    """

    def __init__(self, size: int, prompt_length: int) -> None:
        self.size, self.prompt_length = size, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`input_ids`: (batch, prompt and what is generated so far); `scores`: (batch, vocabulary)."""
        written = input_ids[:, self.prompt_length :]
        if written.shape[1] < self.size:
            return scores
        ngrams = written.unfold(1, self.size, 1)  # (batch, n-grams, size)
        begun = written[:, None, written.shape[1] - self.size + 1 :]  # all of the next one but its last token
        rows, places = (ngrams[:, :, :-1] == begun).all(-1).nonzero(as_tuple=True)
        scores = scores.clone()
        scores[rows, ngrams[rows, places, -1]] = -torch.inf
        return scores
