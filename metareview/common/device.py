"""Devices: which one computes in which number format, how much memory there is, and what is too much for both."""

from pathlib import Path

import psutil
import torch


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
    """Whether there was too little memory, on the GPU or on the CPU."""
    return isinstance(error, OutOfMemory | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def overflows_in_fp16(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> bool:
    """Whether a model computes NaN or infinite logits in fp16, which overflows above 65,504.

    A model in fp32 computes in autocast, as in training. `batch` has `input_ids` (batch, length).
    """
    input_ids, was_training = batch["input_ids"].to(model.device), model.training
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, torch.float16):
        logits = model(input_ids=input_ids).logits
    model.train(was_training)
    return not bool(logits.isfinite().all())
