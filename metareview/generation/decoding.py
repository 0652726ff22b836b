"""Decoding: how the next token is chosen, and what may not be said twice."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

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
    temperature: float = 0.0  # what the scores are divided by before a token is drawn; 0: none is drawn
    seed: int = 42  # of the drawing
    candidates: int = 1  # texts that are drawn for each prompt; the one most like the others is taken

    def __post_init__(self) -> None:
        limits = {"no_repeat_ngram": 0, "repetition_penalty": 1, "num_beams": 1, "temperature": 0, "candidates": 1}
        for name, least in limits.items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"--{name} must be at least {least} and finite, got {getattr(self, name)}")
        if self.temperature and self.num_beams > 1:
            raise ValueError(
                "--temperature draws tokens and --num_beams looks for the likeliest text: give one of them"
            )
        if self.candidates > 1 and not self.temperature:
            raise ValueError(
                f"--candidates {self.candidates} would be the same text: give a --temperature, such as 0.5"
            )

    def identify(self) -> dict[str, Any]:
        """What tells it from others; the seed only where something is drawn."""
        settings = asdict(self)
        for name in [] if self.temperature else ["temperature", "seed"]:
            del settings[name]
        if self.candidates == 1:
            del settings["candidates"]
        return settings

    def name_draws(self, prompt: list[int]) -> list[str]:
        """What the drawing of each candidate for a prompt (token ids) follows from."""
        names = [[self.seed, prompt], *([self.seed, prompt, number] for number in range(1, self.candidates))]
        return [hashlib.sha256(json.dumps(name).encode()).hexdigest() for name in names]

    def make_processors(self, prompt_length: int, draws: Sequence[str] = ()) -> LogitsProcessorList:
        """What changes the scores of the next token, for prompts that are padded to this length on the left.

        The names of the `draws`, one for each prompt, are needed where tokens are drawn.
        """
        processors = LogitsProcessorList()
        if self.repetition_penalty != 1:
            processors.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty, prompt_length))
        if self.no_repeat_ngram:
            processors.append(NoRepeatedNgram(self.no_repeat_ngram, prompt_length))
        if self.temperature:
            processors.append(Drawing(self.temperature, prompt_length, draws))
        return processors

    def describe(self) -> list[str]:
        """In words, for the log of runs."""
        words = ["greedy" if self.num_beams == 1 else f"{self.num_beams} beams"]
        if self.temperature:
            words = [f"drawn at temperature {self.temperature:g} with seed {self.seed}"]
        if self.candidates > 1:
            words = [f"the most typical of {self.candidates} {words[0]}"]
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


class Drawing(LogitsProcessor):
    """Lets greedy decoding draw from the softmax of the scores: it adds noise of a Gumbel distribution to them.

    The largest of such sums is a token with the probability of the softmax (Maddison et al. 2014). The noise follows
    from the name of the draw and the number of the token, so that a text does not depend on the others in its batch.
    """

    def __init__(self, temperature: float, prompt_length: int, draws: Sequence[str]) -> None:
        self.temperature, self.prompt_length, self.draws = temperature, prompt_length, draws

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`input_ids`: (batch, prompt and what is generated so far); `scores`: (batch, vocabulary)."""
        number = input_ids.shape[1] - self.prompt_length
        noise = torch.stack([draw_gumbel(f"{draw} {number}", scores.shape[1]) for draw in self.draws])
        return scores / self.temperature + noise.to(scores.device)


def draw_gumbel(seed: str, number: int) -> torch.Tensor:
    """So many numbers of the standard Gumbel distribution, always the same ones for a seed."""
    digest = hashlib.sha256(seed.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return -torch.empty(number).exponential_(generator=generator).log()
