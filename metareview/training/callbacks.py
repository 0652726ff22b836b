"""Callbacks of the Trainer: the progress bar and loss lines, the sampler's epoch, stopping on a signal."""

import signal
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import reduce
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import EarlyStoppingCallback, TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from metareview.training.batching import LengthGroupedSampler
from metareview.training.checkpoints import find_best


class Progress(TrainerCallback):
    """One bar for the run and its evaluations, and a line for each loss, in place of the Trainer's own."""

    def __init__(self) -> None:
        self.bar = tqdm(disable=True)  # evaluation may be called without training
        self.evaluated = 0  # batches

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        disable = args.disable_tqdm or not state.is_world_process_zero
        self.bar = tqdm(desc="Train", total=state.max_steps, initial=state.global_step, unit=" steps", disable=disable)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.bar.update(1)

    def on_prediction_step(self, *_: Any, eval_dataloader: DataLoader, **__: Any) -> None:
        self.evaluated += 1
        self.bar.set_description(f"Evaluate {self.evaluated}/{len(eval_dataloader)}")

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self.bar.set_description("Train")
        self.evaluated = 0

    def on_log(self, args: TrainingArguments, state: TrainerState, *_: Any, logs: dict[str, float], **__: Any) -> None:
        where = f"step {state.global_step} of {state.max_steps}, epoch {state.epoch:.2f}"
        for name, told in (("loss", "loss"), ("eval_loss", "validation loss")):
            if name in logs:
                tqdm.write(f"{where}: {told} {logs[name]:.4f}")

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.bar.close()


class EpochSetter(TrainerCallback):
    """Tells the sampler which epoch begins: of several processes that resume inside an epoch, accelerate tells none."""

    def __init__(self, sampler: LengthGroupedSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.sampler.set_epoch(int(state.epoch))


class Patience(EarlyStoppingCallback):
    """Stops the training after this many evaluations without a lower validation loss, also across interruptions."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Nothing: the library's own warns that the best weights are not loaded, which SAVE decides."""

    def has_ended(self, state: TrainerState) -> bool:
        """Whether the run of a saved state was stopped so, and only its model may be missing."""
        saved = (state.stateful_callbacks or {}).get(type(self).__name__, {}).get("attributes", {})
        return saved.get("early_stopping_patience_counter", 0) >= self.early_stopping_patience


class Stop(TrainerCallback):
    """On SIGTERM or Ctrl-C: saves after the current step and ends the training. A second one stops immediately."""

    def __init__(self) -> None:
        self.asked, self.stopped, self.handlers = False, False, {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        state.compute_steps(args, state.max_steps)  # a checkpoint brings along how often its run logged and saved
        if state.best_global_step and find_best(state, Path(args.output_dir)) is None:
            print(f"The weights of step {state.best_global_step}, the best so far, are gone: the next best will count.")
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None
        self.handlers = {number: signal.signal(number, self.ask) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(self, *_: Any) -> None:
        print("\nStopping after this step, with a checkpoint. Press Ctrl-C again to stop immediately.", flush=True)
        self.asked = True
        self.on_train_end()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        asked = reduce(torch.tensor(float(self.asked), device=args.device), "sum")  # all processes stop, or none
        if asked > 0 and state.global_step < state.max_steps:
            self.stopped = control.should_log = control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.stopped and state.epoch % 1:  # it has not ended: no evaluation that the unbroken run does not have
            control.should_evaluate = control.should_save = False

    def on_train_end(self, *_: Any, **__: Any) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
