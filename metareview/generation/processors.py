"""Logits processors: what changes the scores of the next token, looking at the generated text alone."""

import hashlib
import json

import torch
from transformers import LogitsProcessor, NoRepeatNGramLogitsProcessor


class NoRepeatedNgram(NoRepeatNGramLogitsProcessor):
    """Blocks every token that would complete an n-gram for the second time (Paulus et al. 2018, section 2.5).

    The library's rule without the prompt: what the prompt says may be said once.
    """

    def __init__(self, size: int, prompt_length: int) -> None:
        super().__init__(size)
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`input_ids`: (batch, prompt and generated tokens); `scores`: (batch, vocabulary)."""
        return super().__call__(input_ids[:, self.prompt_length :].cpu(), scores)  # it reads them one by one


class SeededSampling(LogitsProcessor):
    """Makes greedy decoding sample from the softmax of the scores, by adding Gumbel noise to them.

    The largest sum is a token with the probability of the softmax (Maddison et al. 2014). The noise follows from the
    seed, the prompt (token ids) and the number of the token, so a text does not depend on the others in its batch.
    """

    def __init__(self, temperature: float, seed: int, prompts: list[list[int]], prompt_length: int) -> None:
        self.temperature, self.prompt_length = temperature, prompt_length
        self.names = [hashlib.sha256(json.dumps([seed, prompt]).encode()).hexdigest() for prompt in prompts]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`input_ids`: (batch, prompt and generated tokens); `scores`: (batch, vocabulary)."""
        number = input_ids.shape[1] - self.prompt_length
        noise = torch.stack([_sample_gumbel(f"{name} {number}", scores.shape[1]) for name in self.names])
        return scores / self.temperature + noise.to(scores.device)


def _sample_gumbel(name: str, size: int) -> torch.Tensor:
    """`size` numbers of the standard Gumbel distribution, always the same for a name."""
    digest = hashlib.sha256(name.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return -torch.empty(size).exponential_(generator=generator).log()
