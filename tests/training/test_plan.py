"""--plan: what a run will take, from its first steps; it writes nothing."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import (
    FINE_TUNING,
    TUNE,
    make_model,
    make_tokenizer,
    run_script,
)
from datasets import Dataset, DatasetDict

from fine_tune import FineTuningFlags
from metareview.training import plan
from metareview.training.arguments import build_training_arguments
from metareview.training.batching import LengthGroupedSampler


def read_costs(output: str) -> dict[str, str]:
    """The table of what a run costs, by the names of its columns."""
    header, _, costs = ([cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines()[1:4])
    return dict(zip(header, costs, strict=True))


def test_it_tells_what_the_run_does_and_costs_and_writes_nothing(processed: Path, base: Path) -> None:
    before = sorted(processed.rglob("*"))
    flags = ["--model_name_or_path", base, *FINE_TUNING, "--output_dir", "nowhere/sub", "--plan"]
    result = run_script(TUNE, *flags, cwd=processed)
    assert result.returncode == 0, result.stderr
    assert sorted(processed.rglob("*")) == before and "Loading" not in result.stderr
    expected = r"24 examples of [\d,]+ tokens; 2 epochs are 12 steps of 4 examples, with 7 evaluations"
    assert re.fullmatch(expected, result.stdout.splitlines()[0]), result.stdout
    costs = read_costs(result.stdout)
    parameters = make_model("gpt_neox").num_parameters()
    assert int(costs["parameters trained"].replace(",", "")) == parameters
    assert all(re.fullmatch(r"\d+ (s|min|min \d+ s)", costs[name]) for name in ("an epoch", "the run"))
    assert all(re.fullmatch(r"\d+ MB|[\d.]+ GB", costs[name]) for name in ("memory", "a checkpoint"))
    adapter = run_script(TUNE, *flags, "--use_lora", cwd=processed)
    assert 0 < int(read_costs(adapter.stdout)["parameters trained"].replace(",", "")) < parameters


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

    model = make_model("gpt_neox")
    model.register_forward_pre_hook(forward, with_kwargs=True)
    monkeypatch.setattr(plan, "prepare_model", lambda *_: model)
    monkeypatch.setattr(plan.time, "perf_counter", lambda: clock[0])
    run = plan.measure_run(*given, data["train"], data["validation"])
    assert len(seen) == plan.PROBED_STEPS and seen[0] == 4 * 62
    lengths = data["train"]["length"][:]
    steps = LengthGroupedSampler(lengths, 4, 42).steps()
    assert run.epoch == pytest.approx(sum(4 * max(lengths[row] for row in step) for step in steps))


def test_what_does_not_fit_is_told_and_not_failed(
    measured: tuple, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Weights that are too large are not even loaded; of others, the activations may be too large."""

    def exhaust(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = make_model("gpt_neox")
    model.get_output_embeddings().register_forward_pre_hook(exhaust)
    monkeypatch.setattr(plan, "prepare_model", lambda *_: model)
    plan.print_plan(*measured)
    assert "It does not fit into" in capsys.readouterr().out.splitlines()[-1]
    monkeypatch.setattr(plan.psutil, "virtual_memory", lambda: SimpleNamespace(total=1.5 * model.num_parameters()))
    monkeypatch.setattr(plan, "prepare_model", None)
    plan.print_plan(*measured)
    assert "for the weights alone; set BATCH_SIZE = 2 with ACCUMULATION_STEPS = 2" in capsys.readouterr().out
