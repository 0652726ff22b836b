"""--plan: what a run will take, from its first steps; it writes nothing."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import FINE_TUNING, TUNE, make_examples, make_model, make_tokenizer, run_to_end
from datasets import Dataset, DatasetDict

from fine_tune import FineTuningFlags
from metareview.training import plan
from metareview.training.arguments import build_training_arguments
from metareview.training.batching import LengthGroupedSampler


def test_it_tells_what_the_run_does_and_costs_and_writes_nothing(processed: Path, base: Path) -> None:
    before = sorted(processed.rglob("*"))
    flags = ["--model_name_or_path", base, *FINE_TUNING, "--output_dir", "nowhere/sub", "--plan"]
    course, header, _, costs = run_to_end(TUNE, *flags, cwd=processed).splitlines()
    assert sorted(processed.rglob("*")) == before
    assert re.fullmatch(r"24 examples of [\d,]+ tokens; 2 epochs, 12 steps, 7 evaluations", course)
    assert re.fullmatch(r"\| parameters trained +\| +an epoch \| +the run \| +memory \| +a checkpoint \|", header)
    assert re.fullmatch(r"\| [\d,]+ +\| +\d+ s \| +\d+ s \| +[\d.]+ [GM]B \| +\d+ MB \|", costs)
    adapter = run_to_end(TUNE, *flags, "--use_lora", cwd=processed).splitlines()[-1]
    trained = [int(line.split()[1].replace(",", "")) for line in (costs, adapter)]
    assert 0 < trained[1] < trained[0] == make_model("gpt_neox").num_parameters()


@pytest.fixture
def measured(base: Path) -> tuple:
    """What `print_plan` takes, for 60 examples of 3 to 62 tokens."""
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    data = Dataset.from_list(make_examples([(length - 2, 2) for length in range(3, 63)]))
    flags = FineTuningFlags(trainer={"use_cpu": True})
    return flags, build_training_arguments(flags), str(base), tokenizer, DatasetDict(train=data, validation=data)


def test_the_longest_step_is_tried_and_time_grows_with_the_tokens(measured: tuple, monkeypatch) -> None:
    """Steps that take a second for each of their tokens: an epoch takes as long as all of them."""
    clock, seen = [0.0], []
    *given, data = measured

    def forward(model: torch.nn.Module, args: tuple, inputs: dict) -> None:
        if model.training:
            seen.append(4 * int((inputs["input_ids"] > 0).sum(1).max()))
            clock[0] += seen[-1]

    model = make_model("gpt_neox")
    model.register_forward_pre_hook(forward, with_kwargs=True)
    monkeypatch.setattr(plan, "prepare_model", lambda *_: model)
    monkeypatch.setattr("time.time", lambda: clock[0])
    costs = plan.measure_run(*given, data["train"], data["validation"])
    assert len(seen) == 1 + plan.TIMED_STEPS and seen[0] == 4 * 62
    lengths = data["train"]["length"][:]
    steps = LengthGroupedSampler(lengths, 4, 42).steps()
    assert costs.epoch == pytest.approx(sum(4 * max(lengths[row] for row in step) for step in steps))


def test_what_does_not_fit_is_told_and_not_failed(measured: tuple, monkeypatch, capsys) -> None:
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
    assert "for the weights alone; set BATCH_SIZE = 1 and ACCUMULATION_STEPS" in capsys.readouterr().out
