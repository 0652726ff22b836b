"""A run that is killed at random moments, again and again, its newest checkpoint damaged now and then: same weights.

Takes minutes: make test-faults.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FINE_TUNING, ROOT
from test_interruptions import WEIGHTS, same_weights

from fine_tune import MANIFEST, find_checkpoint, find_fault, list_checkpoints

pytestmark = pytest.mark.faults
KILLS = 24
EPOCHS, STEPS = 8, 48


def command(fine_tuned: Path, base: Path) -> list[str]:
    """Saves in every step, so that many kills fall into the saving of a checkpoint."""
    flags = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    flags += ["--tokenized_dir", fine_tuned / "tokenized_meta_review", "--num_train_epochs", EPOCHS]
    return [sys.executable, str(ROOT / "fine_tune.py"), *map(str, flags), "--eval_steps", "1", "--save_steps", "1"]


def damage(folder: Path, rng: random.Random) -> str:
    """Truncate or remove a file of the newest checkpoint, if there is a whole one before it; the file's name."""
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
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng, environment = random.Random(seed), os.environ | {"HF_HUB_OFFLINE": "1"}
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
            finishing = kills >= KILLS or (reached >= STEPS - 2 and rng.random() < 0.5)
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
        assert process.returncode == 0, (seed, story, said)
        finished, reached = finished + 1, 0
        last = f"checkpoint-{STEPS}/{WEIGHTS}"
        assert same_weights(folder / last, unbroken / last), (seed, story)
        assert same_weights(folder / WEIGHTS, unbroken / WEIGHTS), (seed, story)
        results = [json.loads((path / "training_record.json").read_text())["results"] for path in (folder, unbroken)]
        assert results[0]["eval_loss"] == results[1]["eval_loss"] and results[0]["steps"] == STEPS, (seed, story)
        shutil.rmtree(folder)
    print(*story, f"finished {finished} times", sep="\n")
    assert kills >= KILLS
