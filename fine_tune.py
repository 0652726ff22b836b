"""Fine-tune a causal language model to write meta-reviews: the second of three scripts.

    python fine_tune.py                                    # what the constants below say
    python fine_tune.py --epochs 3 --learning_rate 2e-5    # each constant is a flag, as are the Trainer's
    python fine_tune.py --model EleutherAI/pythia-410m     # another model
    python fine_tune.py --plan                             # first: how long it takes, in how much memory
    python fine_tune.py --use_lora --learning_rate 2e-4    # an adapter only: for models that do not fit
    python fine_tune.py --restart                          # train these settings again from the base
    HF_TOKEN=... python fine_tune.py --push_to_hub --hub_strategy checkpoint   # model and checkpoints to the Hub
    torchrun --nproc_per_node 2 fine_tune.py --batch_size 2                    # on two GPUs; more ways: configs/

It reads what processing_meta_review.py wrote and writes a folder for each setting: `models/pythia-70m_finetuned`,
`models/pythia-70m_finetuned_lr1e-4_epochs2` and so on, with model, tokenizer, loss curve and card. Interrupted, killed,
switched off? The same command goes on from the last whole checkpoint.
Next: python evaluation.py
"""

import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from metareview.common.cli import flag, format_count, parse_flags, run
from metareview.common.files import hold, remove
from metareview.common.hub import open_repository
from metareview.common.model import TRAINING_RECORD, prepare_model
from metareview.data.tokenization import load_tokenizer
from metareview.training.arguments import SummaryTrainingArguments
from metareview.training.batching import SummaryCollator, draw_validation
from metareview.training.callbacks import Stop
from metareview.training.checkpoints import (
    CheckpointKeeper,
    checkpoint_folder,
    choose_result,
    load_state,
)
from metareview.training.dataset import follow_data, load_examples, shared_folder
from metareview.training.hub_checkpoints import CheckpointPusher, push_model
from metareview.training.model_card import model_card
from metareview.training.plan import print_plan
from metareview.training.results import describe_results, describe_training, save_result
from metareview.training.resuming import (
    begin,
    check_output_folder,
    choose_folder,
    describe_start,
    find_start,
    finish,
    is_finished,
    read_settings,
    run_settings,
)
from metareview.training.trainer import SummaryTrainer, process_group

# What is trained, on what
MODEL = None  # Hub id or folder of any causal language model; None: the one that the data was tokenized for
PROCESSED_DIR = "processed_meta_review"  # folder or Hub id of the cleaned texts
TOKENIZED_DIR = "tokenized_meta_review"  # the same as token ids; where they don't fit the model, they are made again
OUTPUT_DIR = None  # folder of the model and its checkpoints; None: models/NAME, named by what is not the default

# How
EPOCHS = 1  # passes over the training examples
LEARNING_RATE = 1e-5  # at the start; it falls to zero in a straight line
BATCH_SIZE = 4  # examples per step and device
ACCUMULATION_STEPS = 1  # steps whose gradients are added up: BATCH_SIZE 1 and 4 of these train the same in less memory
SEED = 42  # order of the examples; on a CPU the same seed gives the same weights, bit for bit
EVALUATIONS_PER_EPOCH = 4  # how often validation is evaluated and a checkpoint saved
EVALUATION_BATCH_SIZE = 8  # examples at a time on validation; changes memory and speed, not the loss
VALIDATION_EXAMPLES = 300  # at most so many, always the same random ones: evaluating takes time from training
CHECKPOINTS_KEPT = 2  # the newest ones, at least 2; the best one always stays
MAX_NEW_TOKENS = 256  # longest meta-review that the model writes, saved with the model

# Bigger models
USE_LORA = False  # train a small adapter and leave the model as it is; LEARNING_RATE should be about 2e-4 then
LORA_R = 16  # rank of the adapter's matrices: how much it can learn
LORA_ALPHA = 32  # what the adapter adds counts LORA_ALPHA / LORA_R times
LORA_TARGETS = "all-linear"  # layers with an adapter: all but the output layer, or names with commas between them
LOAD_IN_4BIT = False  # an adapter on a model kept in 4 bits (QLoRA), for 7B on a free GPU: pip install bitsandbytes
GRADIENT_CHECKPOINTING = False  # keep fewer activations and compute them again: less memory, about a third slower


@dataclass
class FineTuningArguments(SummaryTrainingArguments):
    """Every constant as a flag; the Trainer's own flags come on top."""

    model_name_or_path: str | None = flag(MODEL, "model")
    dataset_name: str = flag(PROCESSED_DIR, "dataset", "processed_dir")
    tokenized_dir: str = flag(TOKENIZED_DIR)
    output_dir: str | None = flag(OUTPUT_DIR)
    num_train_epochs: float = flag(EPOCHS, "epochs")
    learning_rate: float = flag(LEARNING_RATE, "lr")
    per_device_train_batch_size: int = flag(BATCH_SIZE, "batch_size")
    gradient_accumulation_steps: int = flag(ACCUMULATION_STEPS, "accumulation_steps")
    seed: int = flag(SEED)
    evaluations_per_epoch: int = flag(EVALUATIONS_PER_EPOCH)
    per_device_eval_batch_size: int = flag(EVALUATION_BATCH_SIZE, "evaluation_batch_size")
    validation_examples: int = flag(VALIDATION_EXAMPLES)
    save_total_limit: int | None = flag(CHECKPOINTS_KEPT, "checkpoints_kept")
    max_new_tokens: int = flag(MAX_NEW_TOKENS)
    use_lora: bool = flag(USE_LORA)
    lora_r: int = flag(LORA_R)
    lora_alpha: int = flag(LORA_ALPHA)
    lora_targets: str = flag(LORA_TARGETS)
    load_in_4bit: bool = flag(LOAD_IN_4BIT)
    gradient_checkpointing: bool | None = flag(GRADIENT_CHECKPOINTING or None, nargs="?", const=True)


@process_group()
def main() -> None:
    arguments: FineTuningArguments = parse_flags(FineTuningArguments, __file__)
    if arguments.asked_output_dir:
        check_output_folder(Path(arguments.asked_output_dir))

    # 1. Load the tokenizer and the examples.
    follow_data(arguments)
    asked_max_length = arguments.max_length
    tokenizer, limit = load_tokenizer(arguments)
    with arguments.main_process_first(local=False):
        examples, record = load_examples(arguments, tokenizer, limit)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # only fills; whether a token is learned is up to the labels
    tokenizer.padding_side = "left"
    if arguments.plan:
        print_plan(arguments, tokenizer, examples)
        return

    # 2. Find the folder of this run, and where it stands there: new, interrupted or finished.
    settings, steps = run_settings(arguments, record), arguments.count_steps(len(examples["train"]))
    folder = choose_folder(arguments, settings, asked_max_length)
    check_output_folder(folder)
    arguments.output_dir = str(folder)
    _lock = hold(folder) if arguments.should_save else None  # until this process ends
    if is_finished(arguments, folder, settings):
        print(f"{folder} holds the finished model of these settings; to train it again: --restart")
        print(f"Next: python evaluation.py --models {quote(str(folder))}")
        return
    with arguments.main_process_first(local=False):
        name = arguments.hub_model_id or folder.resolve().name
        repo_id = open_repository(arguments, name, "model") if arguments.push_when_done else None
        checkpoints_to = repo_id if arguments.hub_strategy == "checkpoint" else None
        start = find_start(arguments, folder, settings, checkpoints_to)
    state = load_state(start)
    print(describe_start(state, start, steps) if start else f"A new run of {format_count(steps, 'step')}: {folder}")
    print(f"Texts of {record['dataset_name']}, cleaned to {record.get('keep', 'whatever they hold')}")

    # 3. Train, from the checkpoint or from the base.
    stop, keeper = Stop(), CheckpointKeeper(settings, arguments.checkpoints_kept)
    pushers = [CheckpointPusher(checkpoints_to)] if checkpoints_to else []
    last, speed = start, None
    if state.global_step < steps:  # else only the model is still to be saved
        model = prepare_model(arguments.model_name_or_path, arguments.adapter, start)
        trainer = SummaryTrainer(
            model=model,
            args=arguments,
            data_collator=SummaryCollator.for_model(model, tokenizer),
            train_dataset=examples["train"],
            eval_dataset=draw_validation(examples["validation"], arguments.validation_examples),
            processing_class=tokenizer,
            callbacks=[stop, keeper, *pushers],
        )
        if arguments.should_save:
            begin(arguments, folder, settings, start)
        output = trainer.train(start and str(start))
        state, speed = trainer.state, output.metrics["train_samples_per_second"]
        last = checkpoint_folder(arguments, state)
        del model, trainer
        gc.collect()  # the trained model, which circular references hold: else there were two in memory
    if stop.stopped:
        print(f"Stopped at step {state.global_step} of {steps}, which is saved. The same command goes on from there.")
        sys.exit(1)
    if not arguments.should_save:  # from here on the first process is alone
        return

    # 4. Save the best model, or the last one where no best one was saved.
    result = choose_result(state, folder, last)
    model = prepare_model(arguments.model_name_or_path, arguments.adapter, result)
    record |= describe_training(arguments, asked_max_length, state, settings, load_state(result).global_step)
    record["precision"] = read_settings(last).get("precision", "unknown")
    record |= {"name": folder.resolve().name, "hub_model_id": repo_id, "training_examples": len(examples["train"])}
    card = model_card(arguments, record, tokenizer, repo_id or str(folder))
    texts = {TRAINING_RECORD: json.dumps(record, indent=2) + "\n", "README.md": str(card)}
    names = save_result(model, tokenizer, texts, state.log_history, arguments.max_new_tokens, folder)
    finish(folder)
    remove(shared_folder(arguments))  # all processes have read it
    print(describe_results(record["results"], speed))
    print(f"Model: {folder} ({'as it was at the end' if result == last else f'the best, from {result.name}'})")

    # 5. Push it, if asked.
    if repo_id:
        push_model(names, folder, repo_id, arguments.hub_private_repo)
        print(f"Pushed {repo_id} to the Hub: model, tokenizer, card, curve")
    print(f"Next: python evaluation.py --models {quote(str(folder))}")


if __name__ == "__main__":
    run(main)
