"""--plan: what a run will take, from a few real steps; it writes nothing."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import (
    FINE_TUNING,
    TUNE,
    make_arguments,
    make_examples,
    make_model,
    make_tokenizer,
    make_trainer,
    run_process,
    run_script,
)
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from fine_tune import SEED, FineTuningArguments
from metareview.common.cli import format_bytes
from metareview.training.batching import LengthGroupedOrder
from metareview.training.plan import PLACES, count_evaluations, count_work, fit_line, measure_run, print_plan


@pytest.fixture(scope="module")
def planned(processed: Path, base: Path) -> str:
    before = sorted(processed.rglob("*"))
    result = run_process(TUNE, "--model_name_or_path", base, *FINE_TUNING, "--plan", cwd=processed)
    assert result.returncode == 0, result.stderr
    assert "Loading" not in result.stderr
    assert sorted(processed.rglob("*")) == before
    return result.stdout


def test_it_counts_what_the_run_will_do(planned: str) -> None:
    first = planned.splitlines()[0]
    assert re.fullmatch(
        r"24 examples of [\d,]+ tokens; 2 epochs are 12 steps of 4 examples, with 7 evaluations", first
    ), planned


def test_one_of_a_kind_and_a_folder_that_is_not_there_yet(processed: Path, base: Path) -> None:
    flags = ["--num_train_epochs", 1, "--batch_size", 24, "--eval_strategy", "no", "--output_dir", "nowhere/sub"]
    result = run_script(TUNE, "--model_name_or_path", base, *FINE_TUNING, *flags, "--plan", cwd=processed)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].endswith("1 epoch is 1 step of 24 examples, with 1 evaluation")
    assert not (processed / "nowhere").exists()


def read_costs(output: str) -> list[str]:
    """The row of the table: parameters trained, an epoch, the run, memory, disk."""
    header, _, costs = ([cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines()[1:4])
    assert header == ["parameters trained", "an epoch", "the run", "memory", "disk"]
    return costs


def test_it_tells_what_the_run_costs(planned: str) -> None:
    trained, *times, memory, disk = read_costs(planned)
    parameters = sum(parameter.numel() for parameter in make_model("gpt_neox").parameters())
    assert int(trained.replace(",", "")) == parameters
    assert all(re.fullmatch(r"\d+ (s|min|min \d+ s)", cell) for cell in times)
    assert re.fullmatch(r"\d+ MB|[\d.]+ GB", memory)
    # Weights, two moments of AdamW; two that are kept, the best, one that is being written; and the model itself.
    expected = (4 * 12 + 4) * parameters / 1e6
    assert float(disk.removesuffix(" MB")) == pytest.approx(expected, abs=1)
    assert "of memory" in planned.splitlines()[4] and "does not fit" not in planned


@pytest.mark.parametrize("flag", ["--use_lora", "--load_in_4bit"])
def test_an_adapter_trains_fewer_parameters(flag: str, planned: str, processed: Path, base: Path) -> None:
    result = run_script(TUNE, "--model_name_or_path", base, *FINE_TUNING, flag, "--plan", cwd=processed)
    assert result.returncode == 0, result.stderr
    adapter, whole = (int(read_costs(output)[0].replace(",", "")) for output in (result.stdout, planned))
    assert 0 < adapter < whole


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, 5),
        ({"eval_strategy": "epoch", "num_train_epochs": 2.5}, 4),
        ({"eval_strategy": "epoch", "max_steps": 3}, 2),
        ({"eval_steps": 3, "eval_on_start": False}, 3),
        ({"eval_strategy": "no", "eval_on_start": False}, 0),
    ],
)
def test_evaluations_are_counted_as_the_trainer_does_them(flags: dict, expected: int, tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path, save_strategy="no", **flags)
    trainer = make_trainer(make_model("gpt_neox"), arguments, make_examples([(1, 2)] * 28))
    trainer.train()
    steps = arguments.count_steps(28)
    done = sum("eval_loss" in entry for entry in trainer.state.log_history)
    assert done == expected == count_evaluations(arguments, steps, steps / 7)


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_the_work_of_a_step_is_what_pytorch_counts(architecture: str) -> None:
    """Two steps, one with a long prompt and one with a long summary, against PyTorch's own counter."""
    model = make_model(architecture)
    model.set_attn_implementation("eager")  # the counter does not know the kernel of a CPU
    shapes = [(200, 190), (150, 140), (60, 10), (50, 5)]  # tokens, and those of the prompt
    rows = [
        {"input_ids": [2] * length, "labels": [-100] * prompt + [2] * (length - prompt), "length": length}
        for length, prompt in shapes
    ]
    steps = [[0, 1], [2, 3]]
    measured = []
    for step in steps:
        longest, learned = max(shapes[row][0] for row in step), torch.zeros(2, 200, dtype=torch.bool)
        for place, row in enumerate(step):
            learned[place, shapes[row][1] : shapes[row][0]] = True
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(input_ids=torch.full((2, longest), 2), logits_to_keep=learned[:, :longest])
        measured.append(counter.get_total_flops() / 2)
    # Biases and normalizations, which the counter leaves out, are much of a model that is so small.
    assert count_work(model, Dataset.from_list(rows), steps) == pytest.approx(measured, rel=0.1)


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=9),
    st.floats(0, 1e6),
    st.floats(0, 1e9),
    st.lists(st.floats(0, 1e9), min_size=9, max_size=9),
)
def test_a_line_of_costs_is_found_and_never_falls_below_nothing(
    sizes: list[int], slope: float, start: float, noise: list[float]
) -> None:
    values = np.array(sizes, dtype=float)
    line = fit_line(values, start + slope * values)
    assert line(values) == pytest.approx(start + slope * values, rel=1e-6, abs=1e-3)
    disturbed = fit_line(values, np.array(noise[: len(sizes)]))
    assert disturbed(0) >= 0 and disturbed(2e6) >= disturbed(0)


def measured_steps(tmp_path: Path, data: DatasetDict) -> tuple[FineTuningArguments, tuple]:
    make_model("gpt_neox").save_pretrained(tmp_path / "model")
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    arguments = make_arguments(tmp_path / "out", model_name_or_path=str(tmp_path / "model"))
    return arguments, (tokenizer, data)


def rows(number: int) -> DatasetDict:
    examples = [
        {"input_ids": [2] * length, "labels": [-100] * (length - 2) + [2, 3], "length": length}
        for length in range(3, 3 + number)
    ]
    return DatasetDict({split: Dataset.from_list(examples) for split in ("train", "validation")})


@pytest.mark.parametrize(("patience", "steps"), [(0, 3), (1e9, len(PLACES))])
def test_slow_steps_are_few_and_the_largest_one_is_among_them(
    patience: float, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that take a second for each of their tokens: the run is as long as all of them."""
    clock, seen = [0.0], []
    arguments, data = measured_steps(tmp_path, rows(60))
    arguments.max_steps = 20  # an epoch and a third

    def forward(model: torch.nn.Module, args: tuple, inputs: dict) -> None:
        if model.training:
            seen.append(4 * int((inputs["input_ids"] == 2).sum(1).max()))
            clock[0] += seen[-1]

    def prepare(*_: object) -> torch.nn.Module:
        model = make_model("gpt_neox")
        model.register_forward_pre_hook(forward, with_kwargs=True)
        return model

    monkeypatch.setattr("metareview.training.plan.ENOUGH_SECONDS", patience)
    monkeypatch.setattr("metareview.training.plan.prepare_model", prepare)
    monkeypatch.setattr("metareview.training.plan.time.perf_counter", lambda: clock[0])
    run = measure_run(arguments, *data)
    assert len(seen) == steps and seen[2] == 4 * 62  # of 15 steps, whose longest examples have 6, 10, ... 62 tokens
    lengths = data[1]["train"]["length"][:]
    expected = [4 * max(lengths[row] for row in step) for step in LengthGroupedOrder(lengths, 4, SEED).steps()]
    assert run.epoch == pytest.approx(sum(expected), rel=0.1)
    assert run.training == pytest.approx(sum(expected) + sum(expected[:5]), rel=0.1)


def test_beside_the_model_the_heap_of_a_cpu_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for on_cpu, expected in ((True, 100 + 1.5 * 200), (False, 300)):
        arguments, data = measured_steps(tmp_path, rows(8))
        peaks = iter([100, 300])
        monkeypatch.setattr("metareview.training.plan.peak_memory", lambda peaks=peaks: next(peaks))
        monkeypatch.setattr(arguments, "use_cpu", on_cpu)
        assert measure_run(arguments, *data).memory == expected


def test_a_model_too_large_for_the_memory_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments, data = measured_steps(tmp_path, rows(8))
    parameters = make_model("gpt_neox").num_parameters()
    monkeypatch.setattr(
        "metareview.training.plan.psutil.virtual_memory", lambda: SimpleNamespace(total=1.5 * parameters)
    )
    monkeypatch.setattr("metareview.training.plan.measure_apart", lambda *_: pytest.fail("was tried"))
    print_plan(arguments, *data)
    output = capsys.readouterr().out
    assert f"over {format_bytes(16 * parameters)}" in output
    assert output.splitlines()[-1].startswith("It does not fit: give --use_lora True")
    arguments.use_lora = True
    print_plan(arguments, *data)
    assert f"over {format_bytes(2 * parameters)}" in capsys.readouterr().out
    arguments.load_in_4bit = True
    with pytest.raises(pytest.fail.Exception, match="was tried"):
        print_plan(arguments, *data)


def test_a_run_that_is_too_large_is_told_and_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The model fits, its activations do not: here in a thread, as no other process would know this model."""

    def exhaust(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def prepare(*_: object) -> torch.nn.Module:
        model = make_model("gpt_neox")
        model.get_output_embeddings().register_forward_pre_hook(exhaust)
        return model

    monkeypatch.setattr("metareview.training.plan.ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr("metareview.training.plan.prepare_model", prepare)
    arguments, data = measured_steps(tmp_path, rows(8))
    print_plan(arguments, *data)
    output = capsys.readouterr().out
    assert output.count("over ") == 1
    assert output.splitlines()[-1].startswith("It does not fit: give --per_device_train_batch_size 2")
