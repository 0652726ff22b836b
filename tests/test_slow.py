"""What takes minutes: several processes, and a run that is killed at random moments. make test-slow

Several processes are whole runs of fine_tune.py, two real processes on the CPU (gloo), against one process. On a CPU
accelerate has no FSDP: it would use DDP. Where a test asks for FSDP2, RUNNER makes its state say FSDP as it does on
GPUs; sharding, training, gathering and saving are then accelerate's and PyTorch's own.
"""

import json
import os
import random
import shutil
import signal
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
    ROOT,
    TUNE,
    WEIGHTS,
    interrupt,
    make_rows,
    run_script,
    same_weights,
    write_csv,
)
from safetensors.torch import load_file
from servers.hub import WRITER, Hub

from metareview.training.checkpoints import MANIFEST, RUN, find_checkpoint, find_fault, list_checkpoints
from metareview.training.resuming import read_run

pytestmark = pytest.mark.slow


STEPS = 14  # 25 rows, 4 in a step: the last step of an epoch has one row, so the second process has none


LOSS, WEIGHT = 1e-5, 5e-5  # tolerances: another order of summation, which Adam makes larger in the weights


COMMON = [*FINE_TUNING, "--use_cpu", "--bf16", "False", "--save_total_limit", 20]


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


RUNNER = '''
"""Run a script (given with its flags) and write down what this process did, in a file with the number of its rank."""
import collections, functools, json, os, pathlib, runpy, shutil, sys

import huggingface_hub, torch, transformers
from accelerate.state import AcceleratorState, DistributedType, PartialState
from matplotlib.figure import Figure

did, rank, script = collections.Counter(), os.environ.get("RANK", "0"), sys.argv[1]
about = {"did": did}
sys.path.insert(0, os.path.dirname(script))
from metareview.common import cli
from metareview.training import checkpoints, dataset as examples

cli.SILENCE = 600  # however slow the machine is: the launcher ends who waits
checkpoints.keep_weights = lambda *_: None  # so that a test can go back to any checkpoint


def count(owner, name):
    before = getattr(owner, name)

    @functools.wraps(before)
    def counted(*args, **more):
        if "/hub/models--" not in str(args):  # there the Hub's client tidies up after a download
            did[name] += more.get("is_main_process", True)
        return before(*args, **more)

    setattr(owner, name, counted)


for owner, name in (
    (examples, "tokenize_splits"), (transformers.PreTrainedModel, "save_pretrained"),
    (Figure, "savefig"), (shutil, "rmtree"), (huggingface_hub, "upload_folder"),
):
    count(owner, name)
prepare = transformers.Trainer._prepare_for_training


def look(self, *args, **more):
    prepared = prepare(self, *args, **more)
    parameters = list(self.model_wrapped.parameters())
    about.update(
        classes=[kind.__name__ for kind in type(self.model_wrapped).__mro__],
        parameters=sorted({type(parameter).__name__ for parameter in parameters}),
        held=sum(getattr(parameter, "_local_tensor", parameter).numel() for parameter in parameters),
        group=[torch.distributed.get_world_size(), torch.distributed.get_backend()] if torch.distributed.is_initialized() else [1, None],
    )
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
    pathlib.Path(f"process_{rank}.json").write_text(json.dumps(about))
'''  # noqa: E501


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


def launch(folder: Path, launcher: list[str], flags: list[object], **environment: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of that."""
    process = start(folder, launcher, flags, **environment)
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.terminate()  # a launcher ends its processes; nothing happens where it has ended
    return process.returncode, out, err


def trained(folder: Path, launcher: list[str], flags: list[object], **environment: str) -> list[dict[str, Any]]:
    """Run to the end and check that all went well; what each process did."""
    status, out, err = launch(folder, launcher, flags, **environment)
    assert status == 0, err
    assert "Traceback" not in err and "abort" not in err.lower() and "terminate called" not in err, err
    assert "destroy_process_group" not in err and "find_unused_parameters" not in err, err
    assert out.count("2 epochs, 14 steps") == out.count("Training loss") == out.count("Next: ") == 1, out
    (folder / "stdout.txt").write_text(out)
    return [json.loads((folder / f"process_{rank}.json").read_text()) for rank in range(2 if launcher else 1)]


def history(folder: Path, name: str) -> dict[int, float]:
    """A logged number by step, from the last checkpoint."""
    state = json.loads((folder / "out" / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return {entry["step"]: entry[name] for entry in state["log_history"] if name in entry}


def check_same(folder: Path, expected: Path, **tolerance: float) -> None:
    """The curves, the result and the weights of two runs are the same."""
    for name in ("loss", "eval_loss", "grad_norm", "learning_rate"):
        assert history(folder, name) == pytest.approx(history(expected, name), abs=tolerance.get("loss", LOSS)), name
    records = [json.loads((run / "out" / "training_record.json").read_text())["results"] for run in (folder, expected)]
    assert records[0] == pytest.approx(records[1], abs=tolerance.get("loss", LOSS))
    got, wanted = (load_file(run / "out" / "model.safetensors") for run in (folder, expected))
    assert got.keys() == wanted.keys()
    for name in wanted:
        assert got[name].shape == wanted[name].shape and got[name].dtype == wanted[name].dtype
        assert torch.allclose(got[name], wanted[name], rtol=0, atol=tolerance.get("weight", WEIGHT)), name


@pytest.fixture(scope="module")
def texts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which processing_meta_review.py has run: 25 rows to train on, 9 to validate."""
    folder, rows = tmp_path_factory.mktemp("texts"), make_rows(40)
    (folder / "source").mkdir()
    for name, part in (("train", rows[:25]), ("validation", rows[25:34]), ("test", rows[34:])):
        write_csv(folder / "source" / f"{name}.csv", part)
    flags = ["--dataset_name", "source", "--model_name_or_path", base, "--max_summary_tokens", 100]
    result = run_script(PROCESS, *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def flags(texts: Path, base: Path) -> list[object]:
    """For every run; without the tokenized folder, so that it tokenizes."""
    return [*COMMON, "--model_name_or_path", base, "--dataset_name", texts / "processed_meta_review", "--output_dir",
            "out"]  # fmt: skip


@pytest.fixture(scope="module")
def one(flags: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process that takes 4 rows in a step."""
    folder = tmp_path_factory.mktemp("one")
    [about] = trained(folder, [], flags)
    assert about["classes"][0] == "GPTNeoXForCausalLM" and about["group"] == [1, None]
    return folder


TWO = ["--per_device_train_batch_size", 2, "--per_device_eval_batch_size", 2]


@pytest.fixture(scope="module")
def ddp(flags: list[object], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("ddp")
    return folder, trained(folder, TORCHRUN, [*flags, *TWO])


@pytest.fixture(scope="module")
def fsdp(flags: list[object], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("fsdp")
    return folder, trained(folder, accelerate("fsdp2.yaml"), [*flags, *TWO], FSDP_ON_CPU="1")


def test_ddp_takes_the_steps_of_one_process(ddp: tuple[Path, list[dict[str, Any]]], one: Path) -> None:
    folder, processes = ddp
    for about in processes:
        assert about["classes"][0] == "DistributedDataParallel" and about["group"] == [2, "gloo"]
        assert about["left"]
    check_same(folder, one)


def test_fsdp2_shards_the_model_and_takes_the_steps_of_one_process(
    fsdp: tuple[Path, list[dict[str, Any]]], one: Path
) -> None:
    folder, processes = fsdp
    whole = sum(tensor.numel() for tensor in load_file(one / "out" / "model.safetensors").values())
    for about in processes:
        assert "FSDPModule" in about["classes"] and about["parameters"] == ["DTensor"]
        assert about["group"] == [2, "gloo"] and about["left"]
    assert sum(about["held"] for about in processes) == whole
    assert max(about["held"] for about in processes) < 0.6 * whole
    check_same(folder, one)


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_only_the_first_process_tokenizes_saves_draws_and_prints(
    how: str, request: pytest.FixtureRequest, one: Path
) -> None:
    folder, (first, second) = request.getfixturevalue(how)
    assert first["did"]["tokenize_splits"] == first["did"]["savefig"] == 1
    assert first["did"]["save_pretrained"] == len(list((folder / "out").glob("checkpoint-*"))) + 1
    assert not any(second["did"].values()), second["did"]
    printed = [(run / "stdout.txt").read_text() for run in (folder, one)]
    assert printed[0].count("Tokenizing") == 1 and len(printed[0].splitlines()) == len(printed[1].splitlines())
    assert not (folder / "out" / ".new").exists()  # where the first process left the token ids for the other


def test_ddp_resumes_inside_the_second_epoch(
    ddp: tuple[Path, list[dict[str, Any]]], flags: list[object], tmp_path: Path
) -> None:
    folder, _ = ddp
    interrupt(folder / "out", tmp_path, 10)
    processes = trained(tmp_path, accelerate("ddp.yaml"), [*flags, *TWO, "--resume_from_checkpoint", "checkpoint-10"])
    assert [about["classes"][0] for about in processes] == ["DistributedDataParallel"] * 2
    assert (tmp_path / "stdout.txt").read_text().count("Resuming from step 10") == 1
    check_same(tmp_path, folder, loss=0, weight=0)


@pytest.mark.parametrize("launcher", [TORCHRUN, None])
def test_a_launcher_that_is_ended_ends_all_processes_after_a_checkpoint(
    launcher: list[str] | None, flags: list[object], tmp_path: Path
) -> None:
    flags = [*flags, *TWO, "--num_train_epochs", 200]
    process = start(tmp_path, launcher or accelerate("ddp.yaml"), flags)
    deadline = time.monotonic() + 240
    while not find_checkpoint(tmp_path / "out") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    newest = find_checkpoint(tmp_path / "out")
    assert newest, err
    step = json.loads((newest / "trainer_state.json").read_text())["global_step"]
    assert out.count(f"Stopped at step {step} of 1400, which is saved") == out.count("Stopping") == 1, out + err
    assert {file.name for file in newest.glob("rng_state_*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert all(json.loads((tmp_path / f"process_{rank}.json").read_text())["left"] for rank in range(2))


def test_fsdp2_goes_on_and_saves_the_last_step_where_saving_is_off(
    fsdp: tuple[Path, list[dict[str, Any]]], flags: list[object], tmp_path: Path
) -> None:
    folder, _ = fsdp
    interrupt(folder / "out", tmp_path, 10)
    more = ["--resume_from_checkpoint", "checkpoint-10", "--eval_strategy", "no", "--save_strategy", "no"]
    processes = trained(tmp_path, accelerate("fsdp2.yaml"), [*flags, *TWO, *more], FSDP_ON_CPU="1")
    assert all("FSDPModule" in about["classes"] for about in processes)
    last = json.loads((folder / "out" / "training_record.json").read_text())["results"]["steps"]
    saved = {checkpoint.name for checkpoint in (tmp_path / "out").glob("checkpoint-*")}
    assert saved == {"checkpoint-10", f"checkpoint-{last}"}  # the best before it is brought along
    got, wanted = (load_file(run / "out" / f"checkpoint-{last}" / "model.safetensors") for run in (tmp_path, folder))
    assert got.keys() == wanted.keys() and all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_two_launchers_that_add_up_gradients_take_the_steps_of_one_process(
    flags: list[object], one: Path, tmp_path: Path
) -> None:
    """The configuration for two machines, both of them this one."""
    flags = [*flags, "--per_device_train_batch_size", 1, "--gradient_accumulation_steps", 2]
    port = free_port()
    machine = ["--main_process_ip", "127.0.0.1", "--main_process_port", port, "--machine_rank"]
    other = start(tmp_path, accelerate("machines.yaml", *machine, "1"), flags)
    try:
        processes = trained(tmp_path, accelerate("machines.yaml", *machine, "0"), flags)
        out, err = other.communicate(timeout=600)
    finally:
        other.terminate()
    assert other.returncode == 0 and "Traceback" not in err, err
    assert out == ""
    assert [about["group"] for about in processes] == [[2, "gloo"]] * 2
    check_same(tmp_path, one)


def test_only_the_first_process_pushes(hub: Hub, tmp_path: Path) -> None:
    environment = {"HF_HUB_OFFLINE": "0", "HF_TOKEN": WRITER}
    result = run_script(PROCESS, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    flags = ["--push_to_hub", "--hub_strategy", "checkpoint", "--hub_model_id", "it", "--use_cpu", *TWO]
    status, out, err = launch(tmp_path, TORCHRUN, flags, **environment)
    assert status == 0, err
    repo = hub.repos["model", "reader/it"]
    files, titles = repo.files(), [commit.title for commit in repo.commits]
    first, second = (json.loads((tmp_path / f"process_{rank}.json").read_text())["did"] for rank in range(2))
    pushed = [title for title in titles if title.startswith("Checkpoint of step")]
    assert len(pushed) == len(set(pushed)) == 4, titles  # a checkpoint at each evaluation
    assert first["upload_folder"] == len(pushed) + titles.count("Add the fine-tuned model") == 5, titles
    assert not any(second.values()), second
    states = {path.rpartition("/")[2] for path in files}
    assert {"model.safetensors", "rng_state_0.pth", "rng_state_1.pth"} <= states
    assert out.count("Pushed") == 1


def check_told_once(folder: Path, launcher: list[str], flags: list[object], message: str) -> None:
    status, _, err = launch(folder, launcher, flags)
    assert status == 1  # the launcher's own; that of the process stands in its report
    assert err.count("error: ") == err.count(message) == 1, err
    assert "exitcode  : 2" in err and "[rank" not in err, err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--nonsense"], "error: unknown argument: --nonsense"),
        (["--dataset_name", "nowhere"], "error: there is no 'nowhere' here"),
        (["--train_sampling_strategy", "random"], "error: TRAINER sets 'train_sampling_strategy'"),
    ],
)
def test_wrong_input_is_told_once_and_ends_all_processes(
    wrong: list[str], message: str, base: Path, tmp_path: Path
) -> None:
    check_told_once(tmp_path, TORCHRUN, ["--model_name_or_path", base, *COMMON, *wrong], message)


def test_fsdp_does_not_become_ddp_without_a_word(flags: list[object], tmp_path: Path) -> None:
    check_told_once(tmp_path, accelerate("fsdp2.yaml"), flags, "error: FSDP needs GPUs")


def test_fsdp_that_would_save_no_whole_model_is_refused(
    flags: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSDP_ON_CPU", "1")
    config = tmp_path / "sharded.yaml"
    config.write_text((ROOT / "configs" / "fsdp2.yaml").read_text().replace("FULL_STATE", "SHARDED_STATE"))
    check_told_once(tmp_path, accelerate(str(config)), [*flags, *TWO], "error: fsdp_state_dict_type must be FULL")


# Killed again and again


KILLS = 24
EPOCHS, LAST_STEP = 8, 48


def command(fine_tuned: Path, base: Path) -> list[str]:
    """Saves in every step, so that many kills fall into the saving of a checkpoint."""
    flags = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    flags += ["--tokenized_dir", fine_tuned / "tokenized_meta_review", "--num_train_epochs", EPOCHS]
    return [sys.executable, str(ROOT / TUNE), *map(str, flags), "--eval_steps", "1", "--save_steps", "1"]


def damage(folder: Path, rng: random.Random) -> str:
    """Truncate or remove a file of the newest checkpoint, if there is a whole one before it; the file's name.

    Not where the kill came after the model was saved: nothing would make that checkpoint anew.
    """
    if not (folder / RUN).is_file() or read_run(folder).is_finished:
        return ""
    whole = [checkpoint for checkpoint in list_checkpoints(folder).values() if find_fault(checkpoint) is None]
    if len(whole) < 2:
        return ""
    name = rng.choice([*json.loads((whole[0] / MANIFEST).read_text()), MANIFEST])
    file = whole[0] / name
    if rng.random() < 0.5:
        file.unlink()
    else:
        os.truncate(file, rng.randrange(file.stat().st_size))
    return f"{whole[0].name}/{name}"


def test_killed_again_and_again_it_ends_with_the_same_weights(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    rng, environment = random.Random(0), os.environ | {"HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    (tmp_path / "unbroken").mkdir()
    subprocess.run(
        command(fine_tuned, base), cwd=tmp_path / "unbroken", env=environment, check=True, capture_output=True
    )
    duration = time.monotonic() - started
    unbroken, folder = (tmp_path / name / "pythia_finetuned" for name in ("unbroken", "killed"))
    folder.parent.mkdir()
    kills, finished, reached, story = 0, 0, 0, []
    while kills < KILLS or not finished:
        with (tmp_path / "log").open("w+") as log:
            process = subprocess.Popen(
                command(fine_tuned, base), cwd=folder.parent, env=environment, stdout=log, stderr=log
            )
            # Kills before the training begins teach nothing; near its end a run may finish, and another one begins.
            finishing = kills >= KILLS or (reached >= LAST_STEP - 2 and rng.random() < 0.5)
            patience = 600 if finishing else rng.uniform(0.45, 1.1) * duration
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            log.seek(0)
            said = log.read()
        if process.returncode == -signal.SIGKILL:
            kills += 1
            newest = find_checkpoint(folder) if folder.exists() else None
            reached = int(newest.name.partition("-")[2]) if newest else 0
            story.append(f"killed after {patience:.1f} s at step {reached}, damaged: {damage(folder, rng) or '-'}")
            continue
        assert process.returncode == 0, (story, said)
        finished, reached = finished + 1, 0
        last = f"checkpoint-{LAST_STEP}/{WEIGHTS}"
        assert same_weights(folder / last, unbroken / last), story
        assert same_weights(folder / WEIGHTS, unbroken / WEIGHTS), story
        results = [json.loads((path / "training_record.json").read_text())["results"] for path in (folder, unbroken)]
        assert results[0]["eval_loss"] == results[1]["eval_loss"] and results[0]["steps"] == LAST_STEP, story
        shutil.rmtree(folder)
    print(*story, f"finished {finished} times", sep="\n")
    assert kills >= KILLS
