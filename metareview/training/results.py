"""What came out of a run: its losses, in words and as a curve, and the folder of the fine-tuned model."""

import math
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import Any

from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.trainer_callback import TrainerState

from metareview.common.cli import format_bytes, format_count
from metareview.common.device import peak_memory
from metareview.common.files import read_json, remove, replacing, write_json
from metareview.common.model import CONFIGS, TRAINING_RECORD, find_model_revision
from metareview.data.learned import LEARNED
from metareview.training.run_name import NAMED, name_run

MODEL_FILES = ("*config.json", "*.safetensors*", "tokenizer*", "special_tokens_map.json", "added_tokens.json")
MODEL_FILES += ("vocab.*", "merges.txt", "*.jinja", "README.md", "loss_curve.png", TRAINING_RECORD, LEARNED)


def describe_training(
    base: str, settings: dict[str, Any], asked: dict[str, Any], state: TrainerState, saved_step: int
) -> dict[str, Any]:
    """What is recorded of a training beside its model, which is that of `saved_step`.

    In its results, `train_loss` is the mean over all logged steps, those before an interruption too; `eval_loss` is
    None if the saved weights were not evaluated.
    """
    evaluated = [entry for entry in state.log_history if "eval_loss" in entry]
    losses = {entry["step"]: entry["eval_loss"] for entry in evaluated}
    logged = [(0, 0.0)] + [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
    weighted = sum((step - before) * loss for (before, _), (step, loss) in pairwise(logged))
    return {
        "base_model": base,
        "base_revision": find_model_revision(base),
        "group": name_run(base, settings | asked | {"seed": NAMED["seed"][1]}),  # shared by runs of other seeds
        "settings": settings,
        "results": {
            "epochs": state.epoch,
            "steps": state.global_step,
            "train_loss": weighted / logged[-1][0] if len(logged) > 1 else None,
            "eval_loss_before": losses.get(0),
            "eval_loss": losses.get(saved_step),
            "saved_step": saved_step,
            "saved_epoch": round(state.epoch * saved_step / state.global_step, 4),
        },
        "validation_losses": [(entry["epoch"], entry["eval_loss"]) for entry in evaluated],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def describe_loss(loss: float | None) -> str:
    """A loss in nats per token, with the perplexity, its exponential."""
    if loss is None:
        return "not evaluated"
    return f"{loss:.4f} (perplexity {math.exp(loss) if loss < 700 else math.inf:.2f})"  # more would overflow


def describe_results(results: dict[str, float | None], speed: float | None) -> str:
    """What a run came to: its length, its `speed` in examples per second, its losses."""
    length = f"{format_count(results['epochs'], 'epoch')}, {format_count(results['steps'], 'step')}"
    if speed:
        length += f", {speed:.2f} examples/s with evaluation, at most {format_bytes(peak_memory())} of memory"
    train, before, after = (describe_loss(results[name]) for name in ("train_loss", "eval_loss_before", "eval_loss"))
    return f"{length}\nTraining loss {train}; validation loss {before} before, {after} after"


def advise_on_losses(history: list[dict[str, float]], results: dict[str, Any], best: Path | None) -> list[str]:
    """What a user should know of the saved weights: that earlier ones had a lower loss, or that the model got worse.

    `best` is the checkpoint with the lowest validation loss. Each line ends in a line break.
    """
    losses = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    saved, before = results["eval_loss"], results["eval_loss_before"]
    lines = []
    if saved is None:
        return lines
    if before is not None and saved > before:
        advice = "try a LEARNING_RATE ten times smaller, or fewer EPOCHS"
        lines.append(f"The model got worse: its validation loss rose from {before:.4f} to {saved:.4f}; {advice}.\n")
    step = int(best.name.removeprefix("checkpoint-")) if best else results["saved_step"]
    if losses[step] < saved:
        told = f"The validation loss was lower at step {step:,} ({losses[step]:.4f}). To compare those weights"
        lines.append(f"{told}: python evaluation.py --models {quote(str(best))}\n")
    return lines


def renew_max_new_tokens(folder: Path, max_new_tokens: int) -> bool:
    """Save another length of texts with a finished model; whether it was another one."""
    record = read_json(folder / TRAINING_RECORD)
    if record.get("max_new_tokens") == max_new_tokens:
        return False
    GenerationConfig.from_pretrained(folder, max_new_tokens=max_new_tokens).save_pretrained(folder)
    write_json(folder / TRAINING_RECORD, record | {"max_new_tokens": max_new_tokens})
    return True


def record_repository(folder: Path, repo_id: str) -> list[str]:
    """Note the Hub id of a finished model in its record and its card; return the names of the files to push."""
    card = folder / "README.md"
    write_json(folder / TRAINING_RECORD, read_json(folder / TRAINING_RECORD) | {"hub_model_id": repo_id})
    if card.is_file():
        text = re.sub(r'(model|tokenizer)="[^"]*"', rf'\1="{repo_id}"', card.read_text(encoding="utf-8"))
        with replacing(card) as new:
            new.write_text(text, encoding="utf-8")
    return sorted({file.name for pattern in MODEL_FILES for file in folder.glob(pattern)})


def save_result(
    model: PreTrainedModel | PeftModel,
    tokenizer: Tokenizer,
    files: dict[str, bytes],
    history: list[dict[str, float]],
    results: dict[str, Any],
    settings: dict[str, Any],
    folder: Path,
) -> list[str]:
    """Write the model with generation `settings`, further `files` and the loss curve; return the names of all.

    They are written beside, then put in their place. The checkpoints in the folder stay where they are, so files are
    replaced one by one; the configuration, which marks a finished model, is the last.
    """
    new = folder / ".new"
    remove(new)
    model.config.use_cache = True  # the Trainer turned it off, in the checkpoint too
    # Said outright that it does not sample: where a model leaves that open, pipelines do.
    model.generation_config = GenerationConfig(**settings, do_sample=False)
    model.save_pretrained(new)
    model.generation_config.save_pretrained(new)
    tokenizer.save_pretrained(new)
    from metareview.training.curves import plot_losses  # here: matplotlib takes most of a second to load

    plot_losses(history, results, new / "loss_curve.png")
    for name, content in files.items():
        (new / name).write_bytes(content)
    names = sorted((file.name for file in new.iterdir()), key=lambda name: name in CONFIGS)
    for pattern in (*CONFIGS, "model*.safetensors*", "adapter_model*"):
        for file in folder.glob(pattern):
            if file.name not in names:  # a whole model would be loaded in the place of an adapter
                file.unlink()
    mode = (new / "loss_curve.png").stat().st_mode
    for name in names:
        (new / name).chmod(mode)  # safetensors writes files that nobody else may read
        (new / name).replace(folder / name)
    new.rmdir()
    return names
