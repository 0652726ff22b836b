"""fp16, which overflows above 65,504: whether a model computes in it what it computes in fp32."""

from concurrent.futures import BrokenExecutor
from pathlib import Path

import psutil
import torch

# Of the loss. Where nothing overflows, the two differ far less; where something does, one is usually NaN.
LARGEST_DIFFERENCE = 0.01


def find_fp16_fault(model: torch.nn.Module, batch: dict[str, torch.Tensor], autocast: bool) -> str | None:
    """What goes wrong in fp16, in words; None where the loss of a batch is that of fp32. `autocast`: as in training.

    Where something goes wrong, all that was in fp16 is in fp32 afterwards. It is for the comparison too, and weights
    take twice the memory meanwhile; where that is too much, only a loss that is NaN or infinite in fp16 is noticed.
    """
    batch = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
    weights = [parameter for parameter in model.parameters() if parameter.dtype == torch.float16]
    layers = [layer for layer in model.modules() if getattr(layer, "compute_dtype", None) == torch.float16]  # of 4 bits

    def switch(dtype: torch.dtype) -> None:
        for weight in weights:
            weight.data = weight.data.to(dtype)
        for layer in layers:
            layer.compute_dtype = dtype

    half = full = find_loss(model, batch, torch.float16 if autocast else None)
    try:
        switch(torch.float32)
        full = find_loss(model, batch, None)
    except torch.OutOfMemoryError:
        print("There is too little memory to compare fp16 with fp32; --fp16 False is the remedy if losses look odd.")
    if abs(half - full) <= LARGEST_DIFFERENCE * abs(full):  # never true of NaN
        switch(torch.float16)
        return None
    switch(torch.float32)
    return f"the loss of a batch is {half:.4g} in fp16, {full:.4g} in fp32"


def find_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor], autocast: torch.dtype | None) -> float:
    """The mean loss of a batch, without dropout; `autocast`: the number format of its matrix products."""
    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, autocast, enabled=autocast is not None):
        loss = model(**batch).loss.float().mean().item()
    model.train(was_training)
    return loss


def choose_device(use_cpu: bool = False) -> tuple[str, torch.dtype]:
    """The device and the fastest number format that its hardware really has: (cuda, mps or cpu, dtype)."""
    if torch.cuda.is_available() and not use_cpu:
        # Emulated bf16 (a T4 of Colab) is slower than fp32.
        return "cuda", torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if torch.backends.mps.is_available() and not use_cpu:
        return "mps", torch.float32
    cpu = torch.cpu.get_capabilities()
    return "cpu", torch.bfloat16 if cpu.get("amx_bf16") or cpu.get("avx512_bf16") else torch.float32


def free_memory() -> int:
    """Bytes that are free: on the GPU, if there is one."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available


class OutOfMemory(OSError):
    """There was too little memory; the message says what to give."""


def peak_memory() -> int:
    """Bytes: the most that the GPU gave to this process, or its largest resident set so far."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory: on the GPU, on the CPU, or so little that the system ended the process."""
    kinds = (OutOfMemory, torch.OutOfMemoryError, BrokenExecutor)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)
