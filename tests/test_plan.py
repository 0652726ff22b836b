"""--plan: what a run will take, from a few real steps; it writes nothing."""

import re
from pathlib import Path

import pytest
import torch
from conftest import FINE_TUNING, make_model, make_tokenizer, run_script
from datasets import Dataset, DatasetDict

from fine_tune import FineTuningArguments, advise_memory, build_trainer, count_steps, say_bytes, say_time, train


@pytest.fixture(scope="module")
def planned(processed: Path, base: Path) -> str:
    before = sorted(processed.rglob("*"))
    result = run_script("fine_tune.py", "--model_name_or_path", base, *FINE_TUNING, "--plan", cwd=processed)
    assert result.returncode == 0, result.stderr
    assert sorted(processed.rglob("*")) == before
    return result.stdout


def test_it_counts_what_the_run_will_do(planned: str) -> None:
    first = planned.splitlines()[0]
    assert re.fullmatch(
        r"24 examples of [\d,]+ tokens; 2 epochs are 12 steps of 4 examples, with 7 evaluations", first
    ), planned


def test_it_compares_the_whole_model_and_an_adapter(planned: str) -> None:
    header, _, whole, lora = ([cell.strip() for cell in line.split("|")[1:-1]] for line in planned.splitlines()[1:5])
    assert header == ["", "parameters trained", "an epoch", "the run", "memory", "disk"]
    assert (whole[0], lora[0]) == ("whole model", "LoRA")
    parameters = sum(parameter.numel() for parameter in make_model("gpt_neox").parameters())
    assert int(whole[1].replace(",", "")) == parameters > int(lora[1].replace(",", "")) > 0
    assert all(re.fullmatch(r"\d+ s", cell) for cell in (*whole[2:4], *lora[2:4]))
    # Weights, two moments of AdamW; two that are kept, the best, one that is being written; and the model itself.
    expected = (4 * 12 + 4) * parameters / 1e6
    assert float(whole[5].removesuffix(" MB")) == pytest.approx(expected, abs=1)
    assert "of memory" in planned.splitlines()[5] and "does not fit" not in planned


@pytest.mark.parametrize("examples", [1, 7, 24, 25])
@pytest.mark.parametrize(("batch", "accumulation", "epochs"), [(4, 1, 1), (2, 3, 2), (5, 2, 0.5), (1, 4, 3)])
def test_steps_are_counted_as_the_trainer_counts_them(
    examples: int, batch: int, accumulation: int, epochs: float, tmp_path: Path
) -> None:
    arguments = FineTuningArguments(
        output_dir=str(tmp_path), use_cpu=True, num_train_epochs=epochs,
        per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
    )  # fmt: skip
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    row = {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "length": 3}
    data = DatasetDict({split: Dataset.from_list([row] * examples) for split in ("train", "validation")})
    trainer = build_trainer(make_model("gpt_neox"), arguments, tokenizer, data, [])
    expected = trainer.set_initial_training_values(arguments, trainer.get_train_dataloader())[-1]
    assert count_steps(arguments, examples) == expected


def test_out_of_memory_says_what_to_give(tmp_path: Path) -> None:
    """The same step in smaller parts; with batches of one, what needs less memory."""

    def advise(**settings: object) -> str:
        return advise_memory(FineTuningArguments(output_dir=str(tmp_path), use_cpu=True, **settings))

    assert "--per_device_train_batch_size 2 --gradient_accumulation_steps 2" in advise()
    flags = {"per_device_train_batch_size": 9, "gradient_accumulation_steps": 2}
    assert "--per_device_train_batch_size 3 --gradient_accumulation_steps 6" in advise(**flags)
    last = advise(per_device_train_batch_size=1)
    assert "--gradient_checkpointing True" in last and "--use_lora True" in last and "--max_length" in last
    assert "--use_lora" not in advise(per_device_train_batch_size=1, use_lora=True)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), None])
def test_too_little_memory_in_training_is_one_line(error: Exception | None, tmp_path: Path) -> None:
    """As a GPU raises it, and as PyTorch does when a CPU has no more: an allocation that no machine can make."""
    arguments = FineTuningArguments(output_dir=str(tmp_path), use_cpu=True, eval_on_start=False, disable_tqdm=True)
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    row = {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "length": 3}
    data = DatasetDict({split: Dataset.from_list([row] * 4) for split in ("train", "validation")})
    model = make_model("gpt_neox")

    def exhaust(*_: object) -> None:
        if error:
            raise error
        torch.empty(2**60)

    model.get_output_embeddings().register_forward_pre_hook(exhaust)
    with pytest.raises(OSError, match="out of memory at step 1; give --per_device_train_batch_size 2"):
        train(build_trainer(model, arguments, tokenizer, data, []), None)


def test_durations_and_sizes_are_said_as_people_do() -> None:
    assert [say_time(seconds) for seconds in (5, 89, 600, 6_420)] == ["5 s", "89 s", "10 min", "1 h 47 min"]
    assert [say_bytes(number) for number in (850e6, 3.39e9, 41e6)] == ["850 MB", "3.4 GB", "41 MB"]
