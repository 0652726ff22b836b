"""Time attention, forward and backward, by its kernels: which one a training step should use, against input length.

    python benchmarks/attention.py                     # the heads of SmolLM2-135M, batches of four, 512 to 4,096 tokens
    python benchmarks/attention.py --lengths 1024 --contestants no_mask math

`no_mask` is what fine_tune.py uses: padding stands on the right, where a causal model does not look.
"""

import argparse
import itertools

import torch
from measuring import medians, parse, print_ratios, save_results, seconds, take_turns
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from metareview.common.cli import run
from metareview.common.device import choose_device, peak_memory

BATCH, HEADS, SIZE = 4, 9, 64
FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
KERNELS = {  # kernels, number format (None: the fastest), whether a mask says what is padding
    "no_mask": (FUSED, None, False),
    "mask": (FUSED, None, True),
    "fp32": (FUSED, torch.float32, False),
    "math": ([SDPBackend.MATH], None, False),
}


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of a layer, the best of three after a warm-up, and the share of FLOP/s of what is not masked."""
    name, _, length = arguments.contestant.rpartition("_x")
    kernels, dtype, masked = KERNELS[name]
    device, fastest = choose_device()
    shape = BATCH, int(length), HEADS, SIZE  # as the projections leave them
    states = [torch.randn(shape, device=device, dtype=dtype or fastest).transpose(1, 2) for _ in range(4)]
    *inputs, gradient = [state.requires_grad_() for state in states]
    mask = torch.ones(int(length), int(length), dtype=torch.bool, device=device).tril() if masked else None
    mask = mask.expand(BATCH, 1, -1, -1) if masked else None

    def step() -> None:
        output = scaled_dot_product_attention(*inputs, attn_mask=mask, is_causal=not masked)
        torch.autograd.grad(output, inputs, gradient)

    with sdpa_kernel(kernels):
        step()
        time = min(seconds(step) for _ in range(3))
    flops = 3.5 * 4 * BATCH * HEADS * SIZE * int(length) ** 2 / 2  # two products forward, five backward; half is masked
    return {"ms": 1000 * time, "layers/s": 1 / time, "TFLOP/s": flops / time / 1e12, "GB": peak_memory() / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--contestants", nargs="+", default=list(KERNELS), choices=KERNELS)
    arguments = parse(parser, measure)
    pairs = itertools.product(arguments.lengths, arguments.contestants)
    arguments.contestants = [f"{name}_x{length}" for length, name in pairs]
    runs = take_turns(__file__, arguments, {})
    results = {name: medians(runs[name]) for name in runs}
    for length in arguments.lengths:
        group = {name: results[name] for name in results if name.endswith(f"_x{length}")}
        formats = {"ms": ",.0f", "TFLOP/s": ".2f", "GB": ".2f"}
        print_ratios(group, runs, formats, "layers/s", f"no_mask_x{length}")
    save_results("attention", {"medians": results, "rounds": runs})


if __name__ == "__main__":
    run(main)
