"""Too little memory: what to give, the mildest first."""

import re
from pathlib import Path

from conftest import make_arguments

from metareview.training.arguments import advise_memory


def test_out_of_memory_says_what_to_give(tmp_path: Path) -> None:
    """The same step in smaller parts first; no smaller batch where the batch is one, or the model itself too large."""

    def advise(too_large: bool = False, **settings: object) -> str:
        return advise_memory(make_arguments(tmp_path, **settings), too_large)

    first, _, then = advise().partition("; ")
    assert first == (
        "give --per_device_train_batch_size 2 --gradient_accumulation_steps 2, down to 1 and 4, which trains the same"
    )
    assert re.search("--gradient_checkpointing True.*--use_lora True.*configs/fsdp2.yaml.*--max_length", then)
    flags = {"per_device_train_batch_size": 9, "gradient_accumulation_steps": 2}
    assert "--per_device_train_batch_size 3 --gradient_accumulation_steps 6, down to 1 and 18" in advise(**flags)
    assert advise(per_device_train_batch_size=1).startswith("give --gradient_checkpointing True, or --use_lora True")
    assert advise(per_device_train_batch_size=1, use_lora=True, gradient_checkpointing=True).startswith(
        "give several GPUs"
    )
    assert advise(too_large=True).startswith("give --use_lora True") and "batch" not in advise(too_large=True)
