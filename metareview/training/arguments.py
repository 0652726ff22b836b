"""The Trainer's arguments with this project's defaults, checked."""

import math
import os
from dataclasses import dataclass
from json import JSONDecodeError
from warnings import catch_warnings, filterwarnings

import torch
from peft import LoraConfig
from transformers import TrainingArguments

from metareview.common.cli import flag
from metareview.common.device import choose_device
from metareview.common.hub import TOPIC, HubArguments
from metareview.common.model import Adapter, check_4bit
from metareview.data.tokenization import TokenizationArguments
from metareview.training.trainer_flags import check_flags, check_optimizer

RUNNING = "Running"
POSITIVE = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "evaluations_per_epoch",
    "validation_examples",
    "max_new_tokens",
    "lora_r",
    "lora_alpha",
)
SWITCH = {"nargs": "?", "const": True}  # a flag that may stand without a value: --bf16


@dataclass(kw_only=True)
class SummaryTrainingArguments(TokenizationArguments, HubArguments, TrainingArguments):
    """What the Trainer and this project's own parts are told. fine_tune.py gives those without a default their own."""

    dataset_name: str
    tokenized_dir: str
    use_lora: bool
    lora_r: int
    lora_alpha: int
    lora_targets: str
    load_in_4bit: bool
    evaluations_per_epoch: int
    validation_examples: int
    max_new_tokens: int
    gradient_checkpointing: bool | None

    restart: bool = flag(False, help="delete the checkpoints in output_dir and begin again", topic=RUNNING)
    plan: bool = flag(False, help="only measure how long a run takes and in how much memory", topic=RUNNING)
    resume_from_checkpoint: str | None = flag(None, help="go on from this checkpoint", topic=RUNNING)
    max_steps: int = flag(-1, help="stop after so many steps, whatever the epochs", topic=RUNNING)
    bf16: bool | None = flag(None, help="default: where the hardware has it", topic=RUNNING, **SWITCH)
    fp16: bool | None = flag(None, help="default: on a GPU that has no bf16", topic=RUNNING, **SWITCH)
    report_to: str = flag("none", help="tensorboard, trackio, wandb ...: nothing is sent unless asked", topic=RUNNING)
    hub_strategy: str = flag("end", help="end, or checkpoint: each checkpoint too", topic=TOPIC)
    hub_model_id: str | None = flag(None, help="default: the name of the output folder", topic=TOPIC)

    eval_strategy: str = flag("steps", help="no, steps or epoch")
    eval_steps: float | None = flag(None, help="default: from --evaluations_per_epoch")
    save_strategy: str | None = flag(None, help="default: as --eval_strategy; the last step is saved with each")
    save_steps: float | None = flag(None, help="default: as --eval_steps")
    logging_steps: float | None = flag(None, help="default: five times per evaluation")
    eval_on_start: bool = flag(True, help="evaluate before the first step")
    metric_for_best_model: str | None = flag("eval_loss", help="decides what is kept")
    greater_is_better: bool | None = flag(False, help="of eval_loss the lowest is the best")
    train_sampling_strategy: str = flag("group_by_length", help="less padding than random")
    logging_nan_inf_filter: bool = flag(False, help="hide a NaN or infinite loss")
    ddp_find_unused_parameters: bool | None = flag(False, help="slower; there are none")
    log_level_replica: str = flag("error", help="of all processes but the first")

    def __post_init__(self) -> None:
        TokenizationArguments.__post_init__(self)
        self.check()
        if self.hub_token:  # else it would lie in every checkpoint, which holds these arguments
            os.environ["HF_TOKEN"], self.hub_token = self.hub_token, None
        self.choose_precision()
        self.choose_intervals()
        self.asked_output_dir = self.output_dir  # None: a folder that is named by the settings, see resuming.py
        with catch_warnings():  # the new name is not known to transformers 5.21
            filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)
            try:
                TrainingArguments.__post_init__(self)
            except JSONDecodeError as error:
                raise ValueError(f"{error.doc!r} is not JSON: {error}") from error
        check_optimizer(self)
        # Not by the Trainer: see CheckpointKeeper and CheckpointPusher.
        self.checkpoints_kept, self.save_total_limit = self.save_total_limit, None
        self.push_when_done, self.push_to_hub = self.push_to_hub, False
        if self.plan and self.world_size > 1:
            raise ValueError("--plan measures one process: give it without a launcher")
        if self.train_sampling_strategy == "random" and self.world_size > 1:  # accelerate forgets the epoch
            raise ValueError("--train_sampling_strategy random is lost in several processes that go on; leave it out")
        # One process would use DataParallel on several GPUs, which is slow. There is no public way to turn it off.
        self._n_gpu = min(self.n_gpu, 1)

    def check(self) -> None:
        """Raise `ValueError` for values that this project cannot work with."""
        for name in POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"--{name} must be greater than 0 and finite, got {getattr(self, name)}")
        if self.save_total_limit is not None and self.save_total_limit < 2:
            raise ValueError(
                "--save_total_limit must be at least 2: while one is written, the other is the one to go on from"
            )
        if self.max_steps != -1 and self.max_steps < 1:
            raise ValueError(f"--max_steps must be at least 1, or -1 for all --num_train_epochs, got {self.max_steps}")
        for name in ("eval_steps", "save_steps", "logging_steps"):
            value = getattr(self, name)
            if value is not None and not (0 < value < 1 or (value >= 1 and value == value // 1 < math.inf)):
                raise ValueError(f"--{name} must be a number of steps, or a share of them below 1, got {value}")
        check_flags(self)
        if self.load_in_4bit:  # weights of 4 bits cannot be trained: an adapter is
            check_4bit()
            self.use_lora = True

    def choose_precision(self) -> None:
        """Autocast to what the hardware is fast with, unless a flag says otherwise."""
        device, dtype = choose_device(self.use_cpu)
        self.use_cpu = device == "cpu"
        if self.bf16 is None and self.fp16 is None:
            self.bf16, self.fp16 = dtype == torch.bfloat16, dtype == torch.float16
        self.bf16, self.fp16 = bool(self.bf16), bool(self.fp16)

    def choose_intervals(self) -> None:
        """How often is evaluated, saved and logged: below 1 they are shares of the whole run, for the Trainer too."""
        epochs = 1 if self.max_steps > 0 else self.num_train_epochs
        evaluations = max(1, round(self.evaluations_per_epoch * epochs))
        # 1 would mean every step; the largest number below it means the last one.
        self.eval_steps = self.eval_steps or min(1 / evaluations, math.nextafter(1, 0))
        self.save_steps = self.save_steps or self.eval_steps
        if self.save_strategy is None:
            self.save_strategy = "steps" if self.eval_strategy == "no" else self.eval_strategy
        self.check_intervals()
        if not self.logging_steps and self.eval_steps < 1:
            self.logging_steps = self.eval_steps / 5
        elif not self.logging_steps:
            self.logging_steps = max(1, int(self.eval_steps) // 5)

    def check_intervals(self) -> None:
        """Raise `ValueError` where what is evaluated is not saved: the best could not be kept then."""
        if "no" in (self.eval_strategy, self.save_strategy):
            return
        evaluated, saved = self.eval_steps, self.save_steps
        if self.eval_strategy != self.save_strategy:
            raise ValueError(
                f"--save_strategy is {self.save_strategy}, --eval_strategy {self.eval_strategy}: to save the best, "
                "give the same for both; or --save_strategy no"
            )
        is_multiple = evaluated == saved or (min(evaluated, saved) >= 1 and evaluated % saved == 0)
        if self.eval_strategy == "steps" and not is_multiple:
            raise ValueError(
                f"--eval_steps ({evaluated:g}) must be --save_steps ({saved:g}) or a multiple of it: "
                "else the best might not be saved"
            )

    @property
    def autocast_dtype(self) -> torch.dtype:
        """The number format of the matrix products."""
        return torch.bfloat16 if self.bf16 else torch.float16 if self.fp16 else torch.float32

    @property
    def adapter(self) -> Adapter | None:
        """The adapter to train, None where the whole model is trained."""
        if not self.use_lora:
            return None
        lora = LoraConfig(
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            target_modules=self.lora_targets if self.lora_targets == "all-linear" else self.lora_targets.split(","),
            task_type="CAUSAL_LM",
        )
        return Adapter(lora, self.autocast_dtype, self.load_in_4bit, self.seed)

    @property
    def order_seed(self) -> int:
        """The seed of the order of the examples."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def step_size(self) -> int:
        """Examples in a step of the optimizer, over all processes."""
        return self.train_batch_size * self.gradient_accumulation_steps * self.world_size

    def count_steps(self, examples: int) -> int:
        """Steps of the whole run over so many examples, as the Trainer counts them."""
        if self.max_steps > 0:
            return self.max_steps
        return math.ceil(self.num_train_epochs * math.ceil(examples / self.step_size))


def advise_memory(arguments: SummaryTrainingArguments, model_too_large: bool = False) -> str:
    """What to give for less memory, the mildest first; a smaller batch only where it can help."""
    batch, steps = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
    ways = [] if arguments.gradient_checkpointing or model_too_large else ["--gradient_checkpointing True"]
    ways += [] if arguments.use_lora else ["--use_lora True"]
    ways += ["several GPUs (configs/fsdp2.yaml)", "a smaller model" if model_too_large else "a smaller --max_length"]
    others = ", or ".join(ways)
    if batch == 1 or model_too_large:
        return f"give {others}"
    factor = next(number for number in range(2, batch + 1) if batch % number == 0)
    same = f"--per_device_train_batch_size {batch // factor} --gradient_accumulation_steps {steps * factor}"
    further = "" if factor == batch else f", down to 1 and {steps * batch}"
    return f"give {same}{further}, which trains the same; if that is not enough, {others}"
