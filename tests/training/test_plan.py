"""--plan: what a run will take, from its first steps; it writes nothing."""

import re
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
    run_script,
)
from datasets import Dataset, DatasetDict

from fine_tune import FineTuningFlags
from metareview.training import plan
from metareview.training.arguments import build_training_arguments, count_steps
from metareview.training.batching import LengthGroupedSampler


def read_costs(output: str) -> list[str]:
    """The row of the table: parameters trained, an epoch, the run, memory, disk."""
    header, _, costs = ([cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines()[1:4])
    assert header == ["parameters trained", "an epoch", "the run", "memory", "disk"]
    return costs


def test_it_tells_what_the_run_does_and_costs_and_writes_nothing(processed: Path, base: Path) -> None:
    before = sorted(processed.rglob("*"))
    flags = ["--model_name_or_path", base, *FINE_TUNING, "--output_dir", "nowhere/sub", "--plan"]
    result = run_script(TUNE, *flags, cwd=processed)
    assert result.returncode == 0, result.stderr
    assert sorted(processed.rglob("*")) == before and "Loading" not in result.stderr
    expected = r"24 examples of [\d,]+ tokens; 2 epochs are 12 steps of 4 examples, with 7 evaluations"
    assert re.fullmatch(expected, result.stdout.splitlines()[0]), result.stdout
    trained, *times, memory, disk = read_costs(result.stdout)
    parameters = make_model("gpt_neox").num_parameters()
    assert int(trained.replace(",", "")) == parameters
    assert all(re.fullmatch(r"\d+ (s|min|min \d+ s)", cell) for cell in times)
    assert re.fullmatch(r"\d+ MB|[\d.]+ GB", memory)
    # Weights, two moments of AdamW; two that are kept, the best, one that is being written; and the model itself.
    assert float(disk.removesuffix(" MB")) == pytest.approx((4 * 12 + 4) * parameters / 1e6, abs=1)
    adapter = run_script(TUNE, *flags, "--use_lora", cwd=processed)
    assert 0 < int(read_costs(adapter.stdout)[0].replace(",", "")) < parameters


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, 5),
        ({"eval_strategy": "epoch", "epochs": 2.5}, 4),
        ({"eval_strategy": "epoch", "max_steps": 3}, 2),
        ({"eval_steps": 3}, 4),
        ({"eval_strategy": "no"}, 0),
    ],
)
def test_evaluations_are_counted_as_the_trainer_does_them(flags: dict, expected: int, tmp_path: Path) -> None:
    args = make_arguments(tmp_path, save_strategy="no", **flags)
    trainer = make_trainer(make_model("gpt_neox"), args, make_examples([(1, 2)] * 28))
    trainer.train()
    done = sum("eval_loss" in entry for entry in trainer.state.log_history)
    assert done == expected == plan.count_evaluations(args, count_steps(args, 28), count_steps(args, 28) / 7)


@pytest.fixture
def measured(tmp_path: Path) -> tuple:
    """What `print_plan` takes, for 60 examples of 3 to 62 tokens."""
    make_model("gpt_neox").save_pretrained(tmp_path / "model")
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    rows = [{"input_ids": [2] * n, "labels": [-100] * (n - 2) + [2, 3], "length": n} for n in range(3, 63)]
    flags = FineTuningFlags(output_dir=str(tmp_path / "out"), trainer={"use_cpu": True})
    data = DatasetDict({split: Dataset.from_list(rows) for split in ("train", "validation")})
    return flags, build_training_arguments(flags), str(tmp_path / "model"), tokenizer, data


def test_the_longest_step_is_tried_and_time_grows_with_the_tokens(
    measured: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that take a second for each of their tokens: an epoch takes as long as all of them."""
    clock, seen = [0.0], []
    *given, data = measured

    def forward(model: torch.nn.Module, args: tuple, inputs: dict) -> None:
        if model.training:
            seen.append(4 * int((inputs["input_ids"] == 2).sum(1).max()))
            clock[0] += seen[-1]

    def prepare(*_: object) -> torch.nn.Module:
        model = make_model("gpt_neox")
        model.register_forward_pre_hook(forward, with_kwargs=True)
        return model

    monkeypatch.setattr(plan, "prepare_model", prepare)
    monkeypatch.setattr(plan.time, "perf_counter", lambda: clock[0])
    run = plan.measure_run(*given, data["train"], data["validation"])
    assert len(seen) == plan.PROBED_STEPS and seen[0] == 4 * 62
    lengths = data["train"]["length"][:]
    steps = LengthGroupedSampler(lengths, 4, 42).steps()
    assert run.epoch == pytest.approx(sum(plan.count_padded_tokens(lengths, steps)))


def test_beside_the_model_the_heap_of_a_cpu_grows(measured: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    *given, data = measured
    peaks = iter([100, 300])
    monkeypatch.setattr(plan, "peak_memory", lambda: next(peaks))
    assert plan.measure_run(*given, data["train"], data["validation"]).memory == 100 + 1.5 * 200


def test_what_does_not_fit_is_told_and_not_failed(
    measured: tuple, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Weights that are too large are not even loaded; of others, the activations may be too large."""

    def exhaust(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def prepare(*_: object) -> torch.nn.Module:
        model = make_model("gpt_neox")
        model.get_output_embeddings().register_forward_pre_hook(exhaust)
        return model

    monkeypatch.setattr(plan, "prepare_model", prepare)
    plan.print_plan(*measured)
    assert "It does not fit into" in capsys.readouterr().out.splitlines()[-1]
    parameters = make_model("gpt_neox").num_parameters()
    monkeypatch.setattr(plan.psutil, "virtual_memory", lambda: SimpleNamespace(total=1.5 * parameters))
    monkeypatch.setattr(plan, "prepare_model", None)
    plan.print_plan(*measured)
    assert "for the weights alone; set BATCH_SIZE = 2 with ACCUMULATION_STEPS = 2" in capsys.readouterr().out


def test_tokens_are_counted_with_their_padding() -> None:
    assert plan.count_padded_tokens([3, 5, 2], [[0, 1], [2]]).tolist() == np.array([10.0, 2.0]).tolist()
