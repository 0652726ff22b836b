"""How much memory a process takes, and what to do when it is too little."""

from concurrent.futures import BrokenExecutor
from pathlib import Path

import psutil
import torch

from metareview.arguments import SummaryTrainingArguments


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


def advise_memory(arguments: SummaryTrainingArguments, model_too_large: bool = False) -> str:
    """What to give for less memory, the mildest first; a smaller batch only where it can help."""
    batch, steps = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
    ways = [] if arguments.gradient_checkpointing or model_too_large else ["--gradient_checkpointing True"]
    ways += [] if arguments.use_lora else ["--use_lora True"]
    ways += ["several GPUs (configs/fsdp2.yaml)", "a smaller model" if model_too_large else "a smaller --max_length"]
    others = ", or ".join(ways)
    if batch == 1 or model_too_large:
        return f"give {others}"
    factor = next(number for number in range(2, batch + 1) if batch % number == 0)
    same = f"--per_device_train_batch_size {batch // factor} --gradient_accumulation_steps {steps * factor}"
    further = "" if factor == batch else f", down to 1 and {steps * batch}"
    return f"give {same}{further}, which trains the same; if that is not enough, {others}"
