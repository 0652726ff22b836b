"""Time writing meta-reviews: one prompt at a time in fp32, as before, and evaluation.py, in turn on the same prompts.

    python benchmarks/generation.py                    # Pythia-70m's shape, 24 prompts of tokenized_meta_review/
    python benchmarks/generation.py --contestants old ours fp32 --batch_size 16

The models are random and never stop, so each prompt gets NEW_TOKENS tokens from every contestant.
"""

import argparse
import sys

import torch
from measuring import (
    PYTHIA,
    draw_rows,
    make_pythia,
    make_tokenizer,
    medians,
    parse,
    print_ratios,
    save_results,
    seconds,
    take_turns,
)

from evaluation import BATCH_SIZE
from fine_tune import TOKENIZED_DIR
from metareview.common.cli import run
from metareview.common.device import choose_device, peak_memory
from metareview.data.tokenization import IGNORE_INDEX
from metareview.generation.batches import generate

NEW_TOKENS = 256


def one_by_one(model: torch.nn.Module, prompts: list[list[int]], _: int) -> int:
    """The old loop: greedy decoding of a single prompt; the number of tokens."""
    written = 0
    for prompt in prompts:
        input_ids = torch.tensor([prompt], device=model.device)
        whole = model.generate(
            input_ids, attention_mask=torch.ones_like(input_ids), max_new_tokens=NEW_TOKENS, do_sample=False
        )
        written += whole.shape[1] - len(prompt)
    return written


def batched(model: torch.nn.Module, prompts: list[list[int]], batch_size: int) -> int:
    """What evaluation.py does; the number of tokens."""
    return sum(output.tokens for _, output in generate(model, make_tokenizer(), prompts, NEW_TOKENS, batch_size))


CONTESTANTS = {"old": (one_by_one, False), "ours": (batched, True), "fp32": (batched, False)}  # bf16 where real?


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    device, dtype = choose_device()
    write, fast = CONTESTANTS[arguments.contestant]
    model = make_pythia(arguments.size).to(device, dtype if fast else torch.float32).eval()
    model.generation_config.pad_token_id = 0
    rows = draw_rows(arguments.tokenized_dir, "test", arguments.rows)
    prompts = [
        [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label == IGNORE_INDEX]
        for row in rows
    ]
    write(model, prompts[:2], 2)  # warm-up
    written: list[int] = []
    time = seconds(lambda: written.append(write(model, prompts, arguments.batch_size)))
    if written[0] < 0.99 * NEW_TOKENS * len(prompts):
        sys.exit(f"{arguments.contestant} wrote only {written[0]} tokens: the comparison would not be one")
    return {"cases/s": len(prompts) / time, "tokens/s": written[0] / time, "GB": peak_memory() / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="70m", choices=PYTHIA, help="shape of the model")
    parser.add_argument("--tokenized_dir", default=TOKENIZED_DIR)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--batch_size", type=int, default=BATCH_SIZE)
    parser.add_argument("--contestants", nargs="+", default=["old", "ours"], choices=CONTESTANTS)
    arguments = parse(parser, measure)
    runs = take_turns(__file__, arguments, {})
    results = {name: medians(runs[name]) for name in runs}
    print_ratios(results, runs, {"cases/s": ".3f", "tokens/s": ".0f", "GB": ".2f"}, "tokens/s")
    save_results("generation", {"medians": results, "rounds": runs})


if __name__ == "__main__":
    run(main)
