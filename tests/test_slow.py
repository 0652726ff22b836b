"""What takes minutes: several processes, and a run that is killed at random moments. make test-slow

Several processes are complete runs of fine_tune.py, two real processes on the CPU (gloo), against one process. On a CPU
accelerate has no FSDP: it would use DDP. If a test asks for FSDP2, RUNNER makes its state say FSDP as it does on
GPUs; sharding, training, gathering and saving are then accelerate's and PyTorch's own.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    FINE_TUNING,
    PROCESS,
    PROCESSED,
    ROOT,
    TUNE,
    WEIGHTS,
    from_data,
    interrupt,
    read_logged,
    read_record,
    run_to_end,
    same_weights,
    write_splits,
)
from safetensors.torch import load_file
from servers.hub import WRITER, Hub

from metareview.common.model import RUN
from metareview.training.checkpoints import MANIFEST, find_checkpoint, find_fault, list_checkpoints
from metareview.training.resuming import read_run

pytestmark = pytest.mark.slow

STEPS = 14  # 25 rows, 4 in a step: the last step of an epoch has one row, so the second process has none
LOSS, WEIGHT = 1e-5, 5e-5  # tolerances: another order of summation, which Adam makes larger in the weights
COMMON = [*FINE_TUNING, "--use_cpu", "--bf16", "False", "--save_total_limit", 20]
TWO = ["--per_device_train_batch_size", 2, "--per_device_eval_batch_size", 2]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
Result = tuple[Path, list[dict[str, Any]]]  # the folder of a run, and what each of its processes did

RUNNER = '''
"""Run a script (given with its flags) and write down what this process did, in a file with the number of its rank."""
import json, os, pathlib, runpy, sys

import torch, transformers
from accelerate.state import AcceleratorState, DistributedType, PartialState

about, script = {}, sys.argv[1]
sys.path.insert(0, os.path.dirname(script))
from metareview.common import cli
from metareview.training import checkpoints

cli.SILENCE = 600  # however slow the machine is: the launcher ends who waits
checkpoints.keep_weights = lambda *_: None  # so that a test can go back to any checkpoint
prepare = transformers.Trainer._prepare_for_training


def look(self, *args, **more):
    prepared = prepare(self, *args, **more)
    parameters = list(self.model_wrapped.parameters())
    about["classes"] = [kind.__name__ for kind in type(self.model_wrapped).__mro__]
    about["parameters"] = sorted({type(parameter).__name__ for parameter in parameters})
    about["held"] = sum(getattr(parameter, "_local_tensor", parameter).numel() for parameter in parameters)
    about["group"] = torch.distributed.is_initialized() and torch.distributed.get_world_size()
    return prepared


transformers.Trainer._prepare_for_training = look
if os.environ.get("FSDP_ON_CPU"):
    begin = AcceleratorState.__init__

    def begin_with_fsdp(self, *args, fsdp_plugin=None, **more):
        begin(self, *args, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = begin_with_fsdp
sys.argv = sys.argv[1:]
try:
    runpy.run_path(script, run_name="__main__")
finally:
    about["left"] = not torch.distributed.is_initialized()
    pathlib.Path(f"process_{os.environ.get('RANK', '0')}.json").write_text(json.dumps(about))
'''


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def accelerate(config: str, *flags: str) -> list[str]:
    """The command that stands in a file of configs/, for two processes in all."""
    launcher = ["accelerate.commands.launch", "--config_file", str(ROOT / "configs" / config)]
    return [*launcher, "--num_processes", "2", "--main_process_port", free_port(), *flags]


def start(folder: Path, launcher: list[str], flags: list[object], **environment: str) -> subprocess.Popen[str]:
    """Start fine_tune.py under RUNNER in `folder`, by itself or with a launcher."""
    (folder / "runner.py").write_text(RUNNER)
    begin = [sys.executable, *(["-m", *launcher] if launcher else [])]
    return subprocess.Popen(
        [*begin, folder / "runner.py", ROOT / TUNE, *map(str, flags)],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.terminate()  # a launcher ends its processes; nothing happens if it has ended
    return process.returncode, out, err


def read_processes(folder: Path, number: int = 2) -> list[dict[str, Any]]:
    return [json.loads((folder / f"process_{rank}.json").read_text()) for rank in range(number)]


def train(folder: Path, launcher: list[str], flags: list[object], **environment: str) -> list[dict[str, Any]]:
    """Run to the end and check that all went well, and that one process prints; what each process did."""
    status, out, err = finish(start(folder, launcher, flags, **environment))
    assert status == 0, err
    for word in ("Traceback", "abort", "terminate called", "destroy_process_group", "find_unused_parameters"):
        assert word not in err, err
    for words in ("Tokenizing", "2 epochs, 14 steps", "Training loss", "Next: "):
        assert out.count(words) == 1, out
    assert not (folder / "out" / ".new").exists()
    (folder / "stdout.txt").write_text(out)
    return read_processes(folder, 2 if launcher else 1)


def check_same(folder: Path, expected: Path, loss: float = LOSS, weight: float = WEIGHT) -> None:
    """The curves, the result and the weights of two runs are the same."""
    runs = [run / "out" for run in (folder, expected)]
    for name in ("loss", "eval_loss", "grad_norm", "learning_rate"):
        first, second = (read_logged(run / f"checkpoint-{STEPS}", name) for run in runs)
        assert first == pytest.approx(second, abs=loss), name
    first, second = (read_record(run)["results"] for run in runs)
    assert first == pytest.approx(second, abs=loss)
    got, wanted = (load_file(run / WEIGHTS) for run in runs)
    assert got.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(got[name], wanted[name], rtol=0, atol=weight)


@pytest.fixture(scope="module")
def flags(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """For every run: 25 rows to train on, 9 to validate; without the tokenized folder, so that it tokenizes."""
    folder, model = tmp_path_factory.mktemp("texts"), ["--model_name_or_path", base]
    source = write_splits(tmp_path_factory.mktemp("source"), 25, 9)
    run_to_end(PROCESS, "--dataset_name", source, *model, "--max_summary_tokens", 100, cwd=folder)
    return [*COMMON, *model, "--dataset_name", folder / PROCESSED, "--output_dir", "out"]


@pytest.fixture(scope="module")
def one(flags: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process that takes 4 rows in a step."""
    folder = tmp_path_factory.mktemp("one")
    [about] = train(folder, [], [*flags, "--previews", 0])  # several processes write none
    assert about["classes"][0] == "GPTNeoXForCausalLM" and not about["group"]
    return folder


@pytest.fixture(scope="module")
def ddp(flags: list[object], tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("ddp")
    return folder, train(folder, TORCHRUN, [*flags, *TWO])


@pytest.fixture(scope="module")
def fsdp(flags: list[object], tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("fsdp")
    return folder, train(folder, accelerate("fsdp2.yaml"), [*flags, *TWO], FSDP_ON_CPU="1")


def test_ddp_takes_the_steps_of_one_process(ddp: Result, one: Path) -> None:
    folder, processes = ddp
    for about in processes:
        assert about["classes"][0] == "DistributedDataParallel" and about["group"] == 2 and about["left"]
    check_same(folder, one)


def test_fsdp2_shards_the_model_and_takes_the_steps_of_one_process(fsdp: Result, one: Path) -> None:
    folder, processes = fsdp
    total = sum(tensor.numel() for tensor in load_file(one / "out" / WEIGHTS).values())
    for about in processes:
        assert "FSDPModule" in about["classes"] and about["parameters"] == ["DTensor"]
        assert about["group"] == 2 and about["left"] and about["held"] < 0.6 * total
    assert sum(about["held"] for about in processes) == total
    check_same(folder, one)


@pytest.mark.parametrize(
    ("how", "config", "more"),
    [("ddp", "ddp.yaml", []), ("fsdp", "fsdp2.yaml", ["--eval_strategy", "no", "--save_strategy", "no"])],
)
def test_several_processes_resume_inside_the_second_epoch(
    how: str, config: str, more: list[str], flags: list[object], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The last step is saved even if saving is off, and the best checkpoint before it is brought along."""
    folder, _ = request.getfixturevalue(how)
    interrupt(folder / "out", tmp_path, 10)
    flags = [*flags, *TWO, "--resume_from_checkpoint", "checkpoint-10", *more]
    train(tmp_path, accelerate(config), flags, FSDP_ON_CPU="1" if how == "fsdp" else "")
    assert (tmp_path / "stdout.txt").read_text().count("Resuming from step 10") == 1
    saved = list_checkpoints(tmp_path / "out")
    assert {10, STEPS} <= saved.keys() and same_weights(*(run / "out" / WEIGHTS for run in (tmp_path, folder)))


def test_a_launcher_that_is_ended_ends_all_processes_after_a_checkpoint(flags: list[object], tmp_path: Path) -> None:
    process = start(tmp_path, TORCHRUN, [*flags, *TWO, "--num_train_epochs", 200])
    deadline = time.monotonic() + 240
    while not find_checkpoint(tmp_path / "out") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    status, out, err = finish(process)
    newest = find_checkpoint(tmp_path / "out")
    assert status != 0 and newest, err
    step = newest.name.partition("-")[2]
    assert out.count(f"Stopped at step {step} of 1400, which is saved") == out.count("Stopping") == 1, out + err
    assert {file.name for file in newest.glob("rng_state_*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert all(about["left"] for about in read_processes(tmp_path))


def test_two_launchers_that_add_up_gradients_take_the_steps_of_one_process(
    flags: list[object], one: Path, tmp_path: Path
) -> None:
    """The configuration for two machines, both of them this one."""
    flags = [*flags, "--per_device_train_batch_size", 1, "--gradient_accumulation_steps", 2]
    machine = ["--main_process_ip", "127.0.0.1", "--main_process_port", free_port(), "--machine_rank"]
    other = start(tmp_path, accelerate("machines.yaml", *machine, "1"), flags)
    processes = train(tmp_path, accelerate("machines.yaml", *machine, "0"), flags)
    status, out, err = finish(other)
    assert status == 0 and out == "" and "Traceback" not in err, err
    assert [about["group"] for about in processes] == [2, 2]
    check_same(tmp_path, one)


def test_only_the_first_process_pushes(hub: Hub, tmp_path: Path) -> None:
    run_to_end(PROCESS, cwd=tmp_path)
    flags = ["--push_to_hub", "--hub_strategy", "checkpoint", "--hub_model_id", "it", "--use_cpu", *TWO]
    status, out, err = finish(start(tmp_path, TORCHRUN, flags, HF_HUB_OFFLINE="0", HF_TOKEN=WRITER))
    assert status == 0 and out.count("Pushed") == 1, err
    repo = hub.repos["model", "reader/it"]
    titles = [commit.title for commit in repo.commits if commit.title.startswith("Checkpoint of step")]
    assert len(titles) == len(set(titles)) == 4, titles  # a checkpoint at each evaluation
    states = {path.rpartition("/")[2] for path in repo.files()}
    assert {WEIGHTS, "rng_state_0.pth", "rng_state_1.pth"} <= states


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        ("ddp.yaml", ["--dataset_name", "nowhere"], "error: there is no 'nowhere' here"),
        ("fsdp2.yaml", [], "error: FSDP needs GPUs"),  # it does not become DDP without a word
    ],
)
def test_what_is_refused_is_told_once_and_ends_all_processes(
    config: str, wrong: list[object], message: str, flags: list[object], tmp_path: Path
) -> None:
    status, _, err = finish(start(tmp_path, accelerate(config), [*flags, *wrong]))
    assert status == 1  # the launcher's own; that of the process stands in its report
    assert err.count("error: ") == err.count(message) == 1, err
    assert "exitcode  : 2" in err and "[rank" not in err, err


# Killed again and again


KILLS, LAST_STEP = 24, 48


def damage(folder: Path, rng: random.Random) -> str:
    """Truncate or remove a file of the newest checkpoint, if there is a complete one before it; the file's name.

    Not if the kill came after the model was saved: nothing would make that checkpoint anew.
    """
    if not (folder / RUN).is_file() or read_run(folder).is_finished:
        return ""
    complete = [checkpoint for checkpoint in list_checkpoints(folder).values() if find_fault(checkpoint) is None]
    if len(complete) < 2:
        return ""
    file = complete[0] / rng.choice([*json.loads((complete[0] / MANIFEST).read_text()), MANIFEST])
    if rng.random() < 0.5:
        file.unlink()
    else:
        os.truncate(file, rng.randrange(file.stat().st_size))
    return f"{file.parent.name}/{file.name}"


def test_killed_again_and_again_it_ends_with_the_same_weights(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    """Saves in every step, so that many kills fall into the saving of a checkpoint."""
    flags = [*from_data(fine_tuned), "--model_name_or_path", base, *FINE_TUNING, "--num_train_epochs", 8]
    flags += ["--eval_steps", 1, "--save_steps", 1, "--previews", 0]
    command = [sys.executable, str(ROOT / TUNE), *map(str, flags)]
    unbroken, folder = (tmp_path / name / "pythia_finetuned" for name in ("unbroken", "killed"))
    unbroken.parent.mkdir()
    folder.parent.mkdir()
    rng, started = random.Random(0), time.monotonic()
    subprocess.run(command, cwd=unbroken.parent, check=True, capture_output=True)
    duration = time.monotonic() - started
    kills, finished, reached, story = 0, 0, 0, []
    while kills < KILLS or not finished:
        # Kills before the training begins teach nothing; near its end a run may finish, and another one begins.
        finishing = kills >= KILLS or (reached >= LAST_STEP - 2 and rng.random() < 0.5)
        patience = 600 if finishing else rng.uniform(0.45, 1.1) * duration
        with (tmp_path / "log").open("w+") as log:
            process = subprocess.Popen(command, cwd=folder.parent, stdout=log, stderr=log)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                newest = find_checkpoint(folder) if folder.exists() else None
                reached = int(newest.name.partition("-")[2]) if newest else 0
                story.append(f"killed after {patience:.1f} s at step {reached}, damaged: {damage(folder, rng) or '-'}")
                continue
        assert process.returncode == 0, (story, (tmp_path / "log").read_text())
        finished, reached = finished + 1, 0
        for name in (WEIGHTS, f"checkpoint-{LAST_STEP}/{WEIGHTS}"):
            assert same_weights(folder / name, unbroken / name), story
        assert read_record(folder)["results"]["eval_loss"] == read_record(unbroken)["results"]["eval_loss"], story
        shutil.rmtree(folder)
    print(*story, f"finished {finished} times", sep="\n")
