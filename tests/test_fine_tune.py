"""Training: the loss is the plain one, the saved model is the trained one, the same seed gives the same weights."""

import inspect
import json
import math
import platform
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from conftest import FINE_TUNING, ROOT, make_model, make_tokenizer, run_script
from datasets import Dataset, DatasetDict, load_from_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, TrainerCallback, TrainerState
from transformers.loss.loss_utils import ForCausalLMLoss

import fine_tune
from fine_tune import (
    FineTuningArguments,
    LengthGroupedOrder,
    SummaryCollator,
    build_trainer,
    find_fault,
    load_model,
    summary_loss,
)
from processing_meta_review import encode_prompts, parse_flags

TOKENIZER = make_tokenizer()
TOKENIZER.pad_token = TOKENIZER.eos_token
LENGTHS = [(30, 10), (5, 3), (60, 25), (17, 1), (41, 12)]  # tokens of prompt and of summary


def make_examples(lengths: list[tuple[int, int]]) -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for prompt, summary in lengths:
        ids = torch.randint(1, 400, (prompt + summary,), generator=generator).tolist()
        made.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:], "length": len(ids)})
    return made


@pytest.fixture(scope="module")
def examples() -> list[dict[str, list[int]]]:
    return make_examples(LENGTHS)


def plain_losses(model: torch.nn.Module, examples: list[dict[str, list[int]]]) -> list[torch.Tensor]:
    """One example at a time, no padding, all logits: the token losses as textbooks have them."""
    losses = []
    for example in examples:
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor(example["labels"])
        logits = model(input_ids=ids).logits[0, :-1].float()
        picked = labels[1:] != -100
        losses.append(torch.nn.functional.cross_entropy(logits[picked], labels[1:][picked], reduction="none"))
    return losses


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
@pytest.mark.parametrize("keeps_logits", [True, False])
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 25)), min_size=1, max_size=6), batch=st.integers(1, 6)
)
def test_loss_and_gradients_are_those_of_the_plain_model(
    architecture: str, keeps_logits: bool, lengths: list[tuple[int, int]], batch: int
) -> None:
    """Over lengths, batch sizes and accumulation: batches that are added up give what all examples alone give."""
    model, examples = make_model(architecture), make_examples(lengths)
    losses = torch.cat(plain_losses(model, examples))
    losses.mean().backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    model.loss_function = summary_loss
    assert "logits_to_keep" in inspect.signature(model.forward).parameters
    collate, loss = SummaryCollator(0, keeps_logits), 0.0
    for start in range(0, len(examples), batch):
        inputs = collate(examples[start : start + batch])
        assert ("logits_to_keep" in inputs) == keeps_logits
        part = model(**inputs, num_items_in_batch=len(losses)).loss
        part.backward()
        loss += part.item()
    assert loss == pytest.approx(losses.mean().item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-6), name


@given(
    lengths=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5), count=st.integers(1, 99)
)
@settings(max_examples=25, deadline=None)
def test_the_loss_is_the_stock_one(lengths: list[tuple[int, int]], count: int) -> None:
    """Divided by the number of tokens that the Trainer gives, or, without it, the mean."""
    batch = SummaryCollator(0, True)(make_examples(lengths))
    logits = torch.randn(*batch["labels"].shape, 400, generator=torch.Generator().manual_seed(0)).bfloat16()
    for number in (None, count, torch.tensor(count)):
        ours, stock = (logits.clone().requires_grad_() for _ in range(2))
        loss = summary_loss(ours, batch["labels"], num_items_in_batch=number)
        expected = ForCausalLMLoss(stock, batch["labels"], 400, num_items_in_batch=number)
        (loss + expected).backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.allclose(ours.grad, stock.grad, rtol=2**-8, atol=1e-7)  # a bf16 number has 8 bits
    with torch.no_grad():  # evaluation: the sum of each example
        sums = summary_loss(logits, batch["labels"])
    assert sums.shape == (len(lengths),)
    assert sums.sum().item() == pytest.approx(expected.item() * count, rel=1e-5)


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 5), (2, 3), (5, 1)])
def test_a_step_of_the_trainer_is_that_of_the_plain_model(
    batch: int, accumulation: int, examples: list, tmp_path: Path
) -> None:
    """Batch size and accumulation change memory and speed, not what is learned."""
    model, plain = make_model("gpt_neox"), make_model("gpt_neox")
    torch.cat(plain_losses(plain, examples)).mean().backward()
    flags = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0, "max_steps": 1, "eval_strategy": "no"}
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
    arguments = FineTuningArguments(
        output_dir=str(tmp_path), save_strategy="no", use_cpu=True, bf16=False, eval_on_start=False, **flags, **sizes
    )
    data = DatasetDict({split: Dataset.from_list(examples) for split in ("train", "validation")})
    build_trainer(model, arguments, TOKENIZER, data, []).train()
    for (name, parameter), before in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(parameter, before - 0.1 * before.grad, atol=1e-6), name


def test_bf16_is_really_used_and_weights_stay_fp32(examples: list, tmp_path: Path) -> None:
    """Who calls a part of the model instead of its forward gets no autocast, and trains in fp32 without noticing."""
    model, seen = make_model("gpt_neox"), set()
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    arguments = FineTuningArguments(
        output_dir=str(tmp_path), max_steps=1, use_cpu=True, bf16=True, eval_strategy="steps", save_strategy="no"
    )
    data = DatasetDict({split: Dataset.from_list(examples) for split in ("train", "validation")})
    build_trainer(model, arguments, TOKENIZER, data, []).train()
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_logits_are_asked_for_only_where_there_are_labels(examples: list) -> None:
    longest = sorted(examples, key=lambda example: example["length"])[-2:]
    batch = SummaryCollator(0, True, multiple=1)(longest)
    assert batch["input_ids"].shape == (2, 85)
    # Summaries in columns 41 to 52 and 60 to 84: from 41 on, and the one before.
    assert batch["logits_to_keep"] == 45 and batch["labels"].shape == (2, 45)
    assert batch["labels"][0, 0] == -100 and batch["labels"][0, 1] != -100


@pytest.mark.parametrize(("context", "length", "kept"), [(10**9, 96, 64), (90, 90, 64), (85, 85, 64)])
def test_lengths_are_rounded_up_within_the_context(context: int, length: int, kept: int, examples: list) -> None:
    """So that a CPU meets few shapes, and that positions beyond the context are never asked for."""
    longest = sorted(examples, key=lambda example: example["length"])[-2:]
    batch = SummaryCollator(0, True, context, multiple=32)(longest)
    assert batch["input_ids"].shape == (2, length) and batch["labels"].shape == (2, kept)
    assert batch["logits_to_keep"] == kept
    labels = SummaryCollator(0, False, context, multiple=32)(longest)["labels"]
    assert torch.equal(labels[:, -kept:], batch["labels"]) and (labels[:, : -kept + 1] == -100).all()


def test_validation_is_a_sample_that_does_not_depend_on_the_seed(examples: list, tmp_path: Path) -> None:
    data = DatasetDict({split: Dataset.from_list(examples * 4) for split in ("train", "validation")})
    samples = []
    for seed in (1, 2):
        arguments = FineTuningArguments(output_dir=str(tmp_path), seed=seed, validation_examples=7, use_cpu=True)
        trainer = build_trainer(make_model("gpt_neox"), arguments, TOKENIZER, data, [])
        samples.append(trainer.eval_dataset.to_list())
    assert len(samples[0]) == 7 and samples[0] == samples[1]
    lengths = [row["length"] for row in samples[0]]
    assert lengths == sorted(lengths, reverse=True)
    assert trainer.get_eval_dataloader().dataset["input_ids"][0] == samples[0][0]["input_ids"]
    batches = [batch["input_ids"].shape[1] for batch in trainer.get_eval_dataloader()]
    assert batches[0] == SummaryCollator(0, True).round_up(lengths[0])  # nothing shuffles them again


def test_the_loss_comes_without_logits_and_logits_come_without_labels(examples: list, tmp_path: Path) -> None:
    data = DatasetDict({split: Dataset.from_list(examples) for split in ("train", "validation")})
    trainer = build_trainer(
        make_model("gpt_neox"), FineTuningArguments(output_dir=str(tmp_path), use_cpu=True), TOKENIZER, data, []
    )
    inputs = SummaryCollator(0, True)(examples)
    assert trainer.model(**inputs).logits is None
    labels = inputs.pop("labels")
    assert trainer.model(**inputs).logits.shape[:2] == labels.shape


def test_the_training_set_is_whole(examples: list, tmp_path: Path) -> None:
    data = DatasetDict({split: Dataset.from_list(examples * 4) for split in ("train", "validation")})
    arguments = FineTuningArguments(output_dir=str(tmp_path), validation_examples=7, use_cpu=True)
    trainer = build_trainer(make_model("gpt_neox"), arguments, TOKENIZER, data, [])
    assert trainer.train_dataset.to_list() == data["train"].to_list()


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_eval_loss_is_the_mean_over_tokens_whatever_the_batch_size(
    batch_size: int, examples: list, tmp_path: Path
) -> None:
    model = make_model("gpt_neox")
    expected = torch.cat(plain_losses(model, examples)).mean().item()
    arguments = FineTuningArguments(
        output_dir=str(tmp_path), per_device_eval_batch_size=batch_size, bf16=False, use_cpu=True
    )
    data = DatasetDict({split: Dataset.from_list(examples) for split in ("train", "validation")})
    trainer = build_trainer(model, arguments, TOKENIZER, data, [])
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-6)


def test_steps_hold_examples_of_one_length_in_an_order_that_seed_and_epoch_decide() -> None:
    lengths = torch.randint(1, 1000, (402,), generator=torch.Generator().manual_seed(0)).tolist()
    order = LengthGroupedOrder(lengths, 4, seed=1)
    first = list(order)
    assert sorted(first) == list(range(402)) and list(order) == first
    steps = [[lengths[index] for index in first[start : start + 4]] for start in range(0, 400, 4)]
    assert sum(max(step) - min(step) for step in steps) / 100 < 50  # about 600 if they were drawn at random
    assert len({max(step) > 500 for step in steps[:10]}) == 2  # the steps themselves are not sorted
    order.set_epoch(1)
    assert list(order) != first
    assert list(LengthGroupedOrder(lengths, 4, seed=2)) == list(order)
    assert list(LengthGroupedOrder([5], 4, seed=1)) == [0]


def test_training_made_the_model_better_and_said_so(fine_tuned: Path) -> None:
    record = json.loads((fine_tuned / "pythia_finetuned" / "training_record.json").read_text())
    results = record["results"]
    assert results["steps"] == 12 and results["epochs"] == 2
    assert results["eval_loss"] < results["eval_loss_before"] - 0.5
    printed = (fine_tuned / "fine_tune_stdout.txt").read_text()
    after = f"{results['eval_loss']:.4f} (perplexity {math.exp(results['eval_loss']):.2f}) after"
    assert f"validation loss {results['eval_loss_before']:.4f} (" in printed and after in printed
    assert "2 epochs, 12 steps" in printed and "Next: python evaluation.py" in printed


@pytest.mark.parametrize(
    ("flags", "bf16"), [(["--bf16"], True), (["--bf16", "False"], False), (["--fp16", "0"], False)]
)
def test_precision_can_be_chosen_with_the_trainers_flags(
    flags: list[str], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["fine_tune.py", "--use_cpu", *flags])
    arguments = parse_flags(FineTuningArguments, "")
    assert (arguments.bf16, arguments.fp16, arguments.use_cpu) == (bf16, False, True)


def test_the_tokenized_set_is_used_when_it_fits(fine_tuned: Path) -> None:
    assert "Tokenizing" not in (fine_tuned / "fine_tune_stdout.txt").read_text()


def test_the_saved_loss_is_that_of_the_saved_model(fine_tuned: Path) -> None:
    """The output layer of GPT-NeoX is lost by the Trainer's own loading: the loss would be another one."""
    folder = fine_tuned / "pythia_finetuned"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    validation = load_from_disk(str(fine_tuned / "tokenized_meta_review"))["validation"].to_list()
    with torch.no_grad():
        loss = torch.cat(plain_losses(model, validation)).mean().item()
    recorded = json.loads((folder / "training_record.json").read_text())["results"]["eval_loss"]
    assert loss == pytest.approx(recorded, rel=5e-3)  # recorded under bf16 where the hardware has it


@pytest.fixture(scope="module")
def worsening(fine_tuned: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run begun again with validation summaries unlike all that is trained on: they only get worse."""
    folder = tmp_path_factory.mktemp("worsening")
    shutil.copytree(fine_tuned / "pythia_finetuned", folder / "pythia_finetuned")
    texts = load_from_disk(str(fine_tuned / "processed_meta_review"))
    texts["validation"] = texts["validation"].map(lambda row: {"summary": "ZQX7 " * 8 + "JKV9"})
    texts.save_to_disk(folder / "processed_meta_review")
    flags = ["--model_name_or_path", base, "--restart", *FINE_TUNING, "--learning_rate", 0.03]
    flags += ["--eval_strategy", "epoch", "--lr_scheduler_type", "constant", "--num_train_epochs", 4]
    result = run_script("fine_tune.py", *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "pythia_finetuned"


def test_the_saved_weights_are_the_best_checkpoints_in_fp32(worsening: Path) -> None:
    losses = {}
    last = max(worsening.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    for entry in json.loads((last / "trainer_state.json").read_text())["log_history"]:
        if "eval_loss" in entry and entry["step"]:
            losses[entry["step"]] = entry["eval_loss"]
    assert list(losses) == [6, 12, 18, 24]  # once an epoch, as asked for
    best = min(losses, key=losses.get)
    assert best != 24
    assert json.loads((worsening / "training_record.json").read_text())["results"]["eval_loss"] == losses[best]
    saved, kept = (load_file(path / "model.safetensors") for path in (worsening, worsening / f"checkpoint-{best}"))
    assert saved.keys() == kept.keys() and "embed_out.weight" in saved
    assert all(torch.equal(saved[name], kept[name]) and saved[name].dtype == torch.float32 for name in saved)


def test_beginning_again_replaces_model_and_checkpoints(worsening: Path, fine_tuned: Path) -> None:
    assert not (worsening / "checkpoint-10").exists()  # of the first run
    before, after = (load_file(folder / "model.safetensors") for folder in (fine_tuned / "pythia_finetuned", worsening))
    assert not torch.equal(before["embed_out.weight"], after["embed_out.weight"])
    assert "0.03, schedule constant" in (worsening / "README.md").read_text()


def test_a_chat_model_keeps_its_template_and_the_card_gives_the_right_prompt(
    processed: Path, base: Path, tmp_path: Path
) -> None:
    chat = tmp_path / "chat"
    shutil.copytree(base, chat)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
    tokenizer.save_pretrained(chat)
    flags = ["--dataset_name", processed / "processed_meta_review", "--model_name_or_path", chat, *FINE_TUNING]
    result = run_script("fine_tune.py", *flags, "--max_steps", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    saved = AutoTokenizer.from_pretrained(tmp_path / "pythia_finetuned")
    assert saved.chat_template == tokenizer.chat_template
    code = (tmp_path / "pythia_finetuned" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monitored = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert monitored.returncode == 0, monitored.stderr
    assert "### Review:\\nfirst review\\n\\nsecond review\\n\\n### Summary:\\n" in code


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
def test_logits_after_loading_are_those_before_saving(architecture: str, tmp_path: Path) -> None:
    model = make_model(architecture).eval()
    ids = torch.arange(1, 50)[None]
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(load_model(str(tmp_path)).eval()(ids).logits, model(ids).logits)


def test_the_folder_explains_itself_to_plain_transformers(fine_tuned: Path, base: Path) -> None:
    folder = fine_tuned / "pythia_finetuned"
    names = {file.name for file in folder.iterdir() if file.is_file()}
    assert {"model.safetensors", "tokenizer.json", "generation_config.json", "loss_curve.png", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".new")) for name in names)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    review = load_from_disk(str(fine_tuned / "processed_meta_review"))["test"][0]["review"]
    messages = [{"role": "user", "content": review}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert inputs["input_ids"][0].tolist() == encode_prompts([review], tokenizer)[0]
    settings = GenerationConfig.from_pretrained(folder)
    assert settings.eos_token_id == tokenizer.eos_token_id and settings.max_new_tokens == 40
    assert model.config.use_cache
    written = model.generate(**inputs)
    assert written.shape[1] - inputs["input_ids"].shape[1] <= 40
    card = (folder / "README.md").read_text()
    assert base.name in card and str(base) not in card  # a folder of the user's is nobody else's business
    assert "weights in fp32" in card and "loss_curve.png" in card and "0.005, schedule linear" in card


def test_one_model_at_a_time_is_in_memory(
    fine_tuned: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the best checkpoint is loaded, the model that was trained and its optimizer are gone."""
    prepare, trained = fine_tune.prepare_model, []

    def watch(*arguments: object) -> torch.nn.Module:
        assert not any(model() for model in trained), "the trained model is still there"
        model = prepare(*arguments)
        trained.append(weakref.ref(model))
        return model

    monkeypatch.setattr(fine_tune, "prepare_model", watch)
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    monkeypatch.setattr(sys, "argv", ["fine_tune.py", *map(str, flags)])
    fine_tune.main()
    assert len(trained) == 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed blocks in a heap")
@pytest.mark.parametrize(
    ("mib", "interval", "evaluates"),
    [(16, 1e9, False), (1, 0, False), (1, 1e9, True)],
    ids=["large, at once", "others, after a step", "others, before an evaluation"],
)
def test_freed_memory_goes_back_to_the_system(mib: int, interval: float, evaluates: bool) -> None:
    """320 MiB of blocks, freed but for the last one, which would hold all of a heap below it."""
    script = f"""
import sys
from types import SimpleNamespace
import psutil, torch
import fine_tune
resident = lambda: psutil.Process().memory_info().rss / 2**20
fine_tune.RETURN_SECONDS = {interval}
returner = fine_tune.MemoryReturner() if sys.argv[1] == "back" else None
for size in range(1, 31):
    torch.ones(size * 2**18)  # as a training does it: glibc's own threshold rises with what is freed
before = resident()
blocks = [torch.ones({mib} * 2**18) for _ in range(320 // {mib})]
del blocks[:-1]
if returner:
    returner.on_step_end(None, None, SimpleNamespace(should_evaluate={evaluates}))
print(resident() - before)
"""
    held = {}
    for way in ("back", "kept"):
        result = subprocess.run(
            [sys.executable, "-c", script, way], cwd=ROOT, capture_output=True, text=True, check=True
        )
        held[way] = float(result.stdout)
    assert held["back"] < 64 < 200 < held["kept"], held


def test_same_seed_same_weights_bit_for_bit(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(fine_tuned / name, tmp_path / name)
    result = run_script("fine_tune.py", "--model_name_or_path", base, *FINE_TUNING, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    first, again = (load_file(where / "pythia_finetuned" / "model.safetensors") for where in (fine_tuned, tmp_path))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_going_on_from_a_checkpoint_ends_where_the_unbroken_run_ends(
    fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    finished = fine_tuned / "pythia_finetuned"
    checkpoint = min(finished.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    assert int(checkpoint.name.split("-")[1]) < 12
    flags = [
        "--dataset_name",
        fine_tuned / "processed_meta_review",
        "--resume_from_checkpoint",
        checkpoint,
        *FINE_TUNING,
    ]
    result = run_script("fine_tune.py", "--model_name_or_path", base, *flags, "--output_dir", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    expected = load_file(finished / "checkpoint-12" / "model.safetensors")
    got = load_file(tmp_path / "out" / "checkpoint-12" / "model.safetensors")
    assert all(torch.equal(expected[name], got[name]) for name in expected)


@pytest.mark.parametrize(("strategy", "saved"), [("no", [3]), ("steps", [2, 3])])
def test_the_last_step_is_saved_once_and_told(
    strategy: str, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to the callbacks: one of them pushes checkpoints to the Hub."""
    told = []

    class Listener(TrainerCallback):
        def on_save(self, args: FineTuningArguments, state: TrainerState, control: object, **_: object) -> None:
            told.append(state.global_step)

    arguments = FineTuningArguments(
        output_dir=str(tmp_path), use_cpu=True, max_steps=3, eval_strategy="no", eval_on_start=False, save_steps=2,
        save_strategy=strategy, disable_tqdm=True,
    )  # fmt: skip
    data = DatasetDict({split: Dataset.from_list(make_examples(LENGTHS)) for split in ("train", "validation")})
    monkeypatch.setattr(fine_tune, "prepare_model", lambda *_: make_model("gpt_neox"))
    state, _ = fine_tune.train(arguments, TOKENIZER, data, {}, None, [Listener()])
    assert told == saved and state.global_step == 3
    assert all(find_fault(tmp_path / f"checkpoint-{step}") is None for step in saved)


def test_another_tokenization_is_made_again_and_said(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    flags = [
        "--dataset_name",
        fine_tuned / "processed_meta_review",
        "--tokenized_dir",
        fine_tuned / "tokenized_meta_review",
    ]
    result = run_script(
        "fine_tune.py", "--model_name_or_path", base, *flags, *FINE_TUNING, "--max_length", 230, "--max_steps", 1,
        "--eval_strategy", "no", "--save_strategy", "no", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "differs in max_length" in result.stdout and "not evaluated after" in result.stdout
    assert find_fault(tmp_path / "pythia_finetuned" / "checkpoint-1") is None  # the last step is always saved
    assert json.loads((tmp_path / "pythia_finetuned" / "training_record.json").read_text())["max_length"] == 230
