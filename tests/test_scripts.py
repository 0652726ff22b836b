"""Whole scripts: what they leave and print, a folder for each setting, adapters, and what they refuse."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from conftest import (
    ADAPTER,
    EVALUATE,
    FINE_TUNING,
    FOLDERS,
    PROCESS,
    PROCESSED,
    ROOT,
    TOKENIZED,
    TUNE,
    WEIGHTS,
    all_checkpoints_kept,
    copy_data,
    from_data,
    interrupt,
    make_tokenizer,
    plain_losses,
    read_logged,
    read_record,
    run_to_end,
    same_weights,
    save_base,
)
from datasets import load_from_disk
from openpyxl import load_workbook
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from metareview.common.files import lock
from metareview.data.constants import SCRIPT
from metareview.data.learned import hash_reviews, hash_text, load_learned
from metareview.data.prompts import encode_prompts

SMALL = ["--max_summary_tokens", 100]  # what the tiny context of the tests' model has room for


@pytest.fixture
def data(processed: Path, tmp_path: Path) -> Path:
    """A folder with processed data and no model."""
    return copy_data(processed, tmp_path)


# What processing and training leave


def test_processing_leaves_the_same_data_each_time(processed: Path, data: Path, source: Path, base: Path) -> None:
    printed = run_to_end(PROCESS, "--dataset_name", source, "--model_name_or_path", base, *SMALL, cwd=data)
    assert "Next: python fine_tune.py" in printed and {path.name for path in data.glob("[!.]*")} == set(FOLDERS)
    columns = (["review", "summary"], ["input_ids", "labels", "length"])
    for name, wanted in zip(FOLDERS, columns, strict=True):
        before, after = (load_from_disk(str(folder / name)) for folder in (processed, data))
        assert before.column_names == dict.fromkeys(("train", "validation", "test"), wanted)
        assert {split: len(rows) for split, rows in before.items()} == {"train": 24, "validation": 8, "test": 8}
        assert all(before[split].to_list() == after[split].to_list() for split in before)
    record = json.loads((data / TOKENIZED / "processing_record.json").read_text())
    assert (record["max_length"], record["max_summary_tokens"]) == (256, 100)


def test_sentences_left_out_are_in_the_table_and_the_record(source: Path, base: Path, tmp_path: Path) -> None:
    flags = ["--dataset", source, "--model", base, *SMALL, "--drop_sentences", "a paper on sorting"]
    assert "sentences dropped" in run_to_end(PROCESS, *flags, cwd=tmp_path)
    record = json.loads((tmp_path / TOKENIZED / "processing_record.json").read_text())
    texts = load_from_disk(str(tmp_path / PROCESSED))["train"]["summary"]
    assert record["drop_sentences"] == "a paper on sorting" and not any("sorting" in text for text in texts)


def test_training_lowers_the_loss_which_is_that_of_the_saved_model(fine_tuned: Path) -> None:
    """The output layer of GPT-NeoX is lost by the Trainer's own loading: the loss would be another one."""
    results = read_record(fine_tuned / "pythia_finetuned")["results"]
    assert (results["steps"], results["epochs"]) == (12, 2)
    assert results["eval_loss"] < results["eval_loss_before"] - 0.5
    printed = (fine_tuned / "fine_tune_stdout.txt").read_text()
    assert "2 epochs, 12 steps" in printed and "Next: python evaluation.py" in printed
    model = AutoModelForCausalLM.from_pretrained(fine_tuned / "pythia_finetuned").eval()
    with torch.no_grad():
        losses = plain_losses(model, load_from_disk(str(fine_tuned / TOKENIZED))["validation"].to_list())
    assert torch.cat(losses).mean().item() == pytest.approx(results["eval_loss"], rel=5e-3)  # recorded under bf16


FLAT = [*FINE_TUNING, "--learning_rate", 0.03, "--eval_strategy", "epoch", "--lr_scheduler_type", "constant"]


def test_a_finished_model_knows_what_it_has_learned(fine_tuned: Path) -> None:
    train = load_from_disk(str(fine_tuned / "processed_meta_review"))["train"]
    learned = load_learned(fine_tuned / "pythia_finetuned")
    assert learned == {*map(hash_reviews, train["review"]), *map(hash_text, train["summary"])}


def test_what_a_run_trains_on_is_said_first_with_edits_that_are_not_in_its_data(
    fine_tuned: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = SCRIPT.read_text().replace('PROMPT = "plain"', 'PROMPT = "instruction"')
    edited = edited.replace("SPLIT_SEED = 42", "SPLIT_SEED = 7")
    monkeypatch.setattr("metareview.data.constants.SCRIPT", tmp_path / SCRIPT.name)
    (tmp_path / SCRIPT.name).write_text(edited)
    flags = ["--model", base, *FINE_TUNING]
    for more, names in (([], "SPLIT_SEED, PROMPT"), (["--prompt", "plain"], "SPLIT_SEED")):
        lines = run_to_end(TUNE, *flags, *more, cwd=fine_tuned).splitlines()
        assert lines[0].startswith(f"Model {base}; texts of ") and lines[0].endswith("to a-zA-Z0-9; prompt plain")
        assert lines[1].startswith(f"Not in these data: {names}, edited since.")
        assert "holds the finished model of these settings" in lines[2]


@pytest.fixture(scope="module")
def worsening(fine_tuned: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run begun again with validation summaries unlike all that is trained on: they only get worse."""
    folder = tmp_path_factory.mktemp("worsening")
    shutil.copytree(fine_tuned / "pythia_finetuned", folder / "pythia_finetuned")
    texts = load_from_disk(str(fine_tuned / PROCESSED))
    texts["validation"] = texts["validation"].map(lambda row: {"summary": "ZQX7 " * 8 + "JKV9"})
    texts.save_to_disk(folder / PROCESSED)
    run_to_end(TUNE, "--model", base, "--restart", *FLAT, "--save", "best", "--num_train_epochs", 4, cwd=folder)
    return folder / "pythia_finetuned"


def test_with_save_best_the_weights_are_those_of_the_lowest_validation_loss(worsening: Path) -> None:
    """In fp32. Of the checkpoints, the last one stays complete, and of the best one the model."""
    losses = read_logged(worsening / "checkpoint-24", "eval_loss")
    assert list(losses) == [0, 6, 12, 18, 24]  # once an epoch, as asked for
    step = min(list(losses)[1:], key=losses.get)
    best, results = worsening / f"checkpoint-{step}", read_record(worsening)["results"]
    assert step != 24 and (results["eval_loss"], results["saved_step"]) == (losses[step], step)
    assert results["saved_epoch"] == step / 6 and results["steps"] == 24
    saved = load_file(worsening / WEIGHTS)
    assert same_weights(worsening / WEIGHTS, best / WEIGHTS) and "embed_out.weight" in saved
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    assert {path.name for path in worsening.glob("checkpoint-*")} == {"checkpoint-24", best.name}
    assert (worsening / "checkpoint-24" / "optimizer.pt").exists() and not (best / "optimizer.pt").exists()


def test_without_it_they_are_the_last_ones_and_patience_ends_the_run(worsening: Path, base: Path) -> None:
    flags = ["--model", base, *FLAT, "--epochs", 9, "--patience", 2, "--output_dir", "last"]
    printed, last = run_to_end(TUNE, *flags, cwd=worsening.parent), worsening.parent / "last"
    results = read_record(last)["results"]
    lowest = results["saved_step"] - 12  # two evaluations later it stopped
    assert results["saved_step"] == results["steps"] < 54
    assert f"The validation loss was lower at step {lowest} (" in printed
    assert f"evaluation.py --models last/checkpoint-{lowest}\n" in printed
    assert same_weights(last / WEIGHTS, last / f"checkpoint-{lowest + 12}" / WEIGHTS)


def test_plain_transformers_stops_a_chat_model_where_training_did(data: Path, base: Path) -> None:
    """At the token that ends a turn and at the end of text."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    end = tokenizer.convert_ids_to_tokens(300)
    tokenizer.add_special_tokens({"additional_special_tokens": [end]})
    tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] + '" + end + "' }}{% endfor %}"
    shutil.copytree(base, data / "chat")
    tokenizer.save_pretrained(data / "chat")
    run_to_end(TUNE, "--model", "chat", *FINE_TUNING, "--max_steps", 1, "--eval_strategy", "no", cwd=data)
    messages = [{"role": "user", "content": "first review\n\nsecond review"}]
    saved = AutoTokenizer.from_pretrained(data / "pythia_finetuned")
    text = saved.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<user>### Review:\nfirst review\n\nsecond review\n\n### Summary:\n" + end
    assert GenerationConfig.from_pretrained(data / "pythia_finetuned").eos_token_id == [300, 0]


def test_the_folder_explains_itself_to_plain_transformers(fine_tuned: Path) -> None:
    folder = fine_tuned / "pythia_finetuned"
    names = {file.name for file in folder.iterdir() if file.is_file()}
    assert len({(folder / name).stat().st_mode for name in names - {"run.json"}}) == 1  # all follow the umask
    assert {WEIGHTS, "tokenizer.json", "generation_config.json", "loss_curve.png", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".new")) for name in names)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    review = load_from_disk(str(fine_tuned / PROCESSED))["test"][0]["review"]
    messages = [{"role": "user", "content": review}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert inputs["input_ids"][0].tolist() == encode_prompts([{"review": review}], tokenizer)[0]
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id] and model.config.use_cache
    assert model.generate(**inputs).shape[1] - inputs["input_ids"].shape[1] <= 40


def test_a_model_that_overflows_in_fp16_writes_in_fp32(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the log of runs says also when all texts are there."""
    weights = load_file(save_base(data / "base", context=1024) / WEIGHTS)
    for name, weight in weights.items():
        weight *= 3e4 if "layers.0.mlp" in name else 1
    save_file(weights, data / "base" / WEIGHTS, {"format": "pt"})
    monkeypatch.setattr("metareview.generation.writing.choose_device", lambda: ("cpu", torch.float16))
    flags = ["--models", "base", "--base_model", "base", "--num_examples", 2, "--max_new_tokens", 8]
    for is_said in (True, False):
        assert ("base overflows in fp16." in run_to_end(EVALUATE, *flags, cwd=data)) == is_said
        header, *rows = load_workbook(data / "eval_test.xlsx")["runs"].iter_rows(values_only=True)
        assert all("float32" in row[header.index("decoding")] for row in rows if row[0] == "base")


# A folder for every setting


QUICK = ["--max_new_tokens", 40, "--max_steps", 2, "--eval_strategy", "no"]


def list_models(folder: Path) -> set[str]:
    """The models that were trained, without the part of their names that is the same for all."""
    return {path.name.partition("_finetuned")[2] for path in (folder / "models").glob("[!.]*/")}


def test_each_setting_has_a_folder_and_the_same_one_finds_it_again(data: Path) -> None:
    seen = set()
    for flags in ([], ["--lr", "1e-3"], ["--seed", 7], ["--lr", "1e-3"], []):
        printed = run_to_end(TUNE, *QUICK, *flags, cwd=data)
        assert (list_models(data) > seen) != ("holds the finished model of these settings" in printed)
        seen = list_models(data)
    names = {name.partition("_summary100")[2] for name in seen}
    assert names == {"_steps2", "_lr1e-3_steps2", "_steps2_seed7"} and len(seen) == 3


def test_other_texts_or_weights_under_the_same_names_make_another_run(data: Path, base: Path) -> None:
    """Which no setting tells."""
    shutil.copytree(base, data / "base")
    run_to_end(TUNE, *QUICK, "--model", "base", cwd=data)
    [first] = list_models(data)
    texts, record = load_from_disk(str(data / PROCESSED)), "processing_record.json"
    texts["train"] = texts["train"].take(20)
    texts.save_to_disk(data / "changed")
    shutil.copy(data / PROCESSED / record, data / "changed" / record)
    changed = [*QUICK, "--model", "base", "--processed_dir", "changed"]
    run_to_end(TUNE, *changed, cwd=data)
    [second] = list_models(data) - {first}
    assert re.fullmatch(rf"{first}_[0-9a-f]{{6}}", second)
    weights = {name: weight * 1.01 for name, weight in load_file(data / "base" / WEIGHTS).items()}
    save_file(weights, data / "base" / WEIGHTS, {"format": "pt"})
    run_to_end(TUNE, *changed, cwd=data)
    assert len(list_models(data)) == 3
    assert "holds the finished model" in run_to_end(TUNE, *changed, cwd=data)


# A sweep


def test_several_values_are_several_runs_and_finished_ones_are_skipped(data: Path, base: Path, refused) -> None:
    flags = [*QUICK, "--model", base, "--previews", 0, "--eval_strategy", "epoch"]
    printed = run_to_end(TUNE, *flags, "--learning_rate", "1e-3", "1e-4", cwd=data)
    assert "Run 2 of 2: LEARNING_RATE = 0.0001" in printed and len(list_models(data)) == 2
    for name in list_models(data):
        assert re.search(rf"{name} +\|.* [0-9.]+ \|", printed)
    assert "Next: python evaluation.py --models models/" in printed.splitlines()[-1]
    assert "Their curves: models/losses.png" in printed and (data / "models/losses.png").stat().st_size > 5_000
    written = {path: path.stat().st_mtime_ns for path in data.glob(f"models/*/{WEIGHTS}")}
    run_to_end(TUNE, *flags, "--learning_rate", "1e-3", "1e-4", "1e-5", cwd=data)
    assert len(list_models(data)) == 3 and all(path.stat().st_mtime_ns == time for path, time in written.items())
    told = refused(TUNE, "--learning_rate", "1e-3", "1e-4", "--output_dir", "m")
    assert "OUTPUT_DIR must be None for several runs" in told


# LoRA


@pytest.fixture(scope="module", params=["gpt_neox", "4bit"])
def adapted(request: pytest.FixtureRequest, processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an adapter was trained, for the base in `base/`, which may be kept in 4 bits."""
    folder = copy_data(processed, tmp_path_factory.mktemp(request.param))
    save_base(folder / "base", "llama" if request.param == "4bit" else "gpt_neox")
    with all_checkpoints_kept:
        run_to_end(TUNE, *flags_of(folder), cwd=folder)
    return folder


def flags_of(folder: Path) -> list[object]:
    """The flags of the run in that folder; with 4 bits, the adapter need not be asked for."""
    kind = "--load_in_4bit" if folder.name.startswith("4bit") else "--use_lora"
    return ["--model_name_or_path", "base", *FINE_TUNING, kind, "--lora_r", 4, "--lora_alpha", 8]


def test_only_the_adapter_is_trained_and_saved(adapted: Path) -> None:
    saved = adapted / "pythia_finetuned"
    names = {file.name for file in saved.iterdir()}
    assert {ADAPTER, "adapter_config.json", "generation_config.json", "tokenizer.json"} <= names
    assert not names & {WEIGHTS, "config.json"}
    weights = load_file(saved / ADAPTER)
    assert all("lora_" in name and value.dtype == torch.float32 for name, value in weights.items())
    assert not any("embed" in name or "lm_head" in name for name in weights)
    assert len({name.split(".lora_")[0] for name in weights}) in (2 * 4, 2 * 7)  # layers times linear maps in each
    results = read_record(saved)["results"]
    assert results["eval_loss"] < results["eval_loss_before"]


def test_it_resumes_and_ends_with_the_same_adapter(adapted: Path, tmp_path: Path) -> None:
    shutil.copytree(adapted / "base", copy_data(adapted, tmp_path) / "base")
    interrupt(adapted / "pythia_finetuned", tmp_path / "pythia_finetuned", 10)
    assert "Resuming from step 10 of 12" in run_to_end(TUNE, *flags_of(adapted), cwd=tmp_path)
    name = f"pythia_finetuned/checkpoint-12/{ADAPTER}"
    assert same_weights(tmp_path / name, adapted / name)


def test_merged_it_is_a_plain_model_that_writes_the_same(adapted: Path) -> None:
    printed = run_to_end(TUNE, "--merge", "pythia_finetuned", cwd=adapted)
    assert "Merged: pythia_finetuned_merged; largest difference of the logits " in printed
    names = {file.name for file in (adapted / "pythia_finetuned_merged").iterdir()}
    assert WEIGHTS in names and ADAPTER not in names and "3 of 3 texts are the same" in printed
    flags = ["--models", "pythia_finetuned", "pythia_finetuned_merged", "--num_examples", 3, "--max_new_tokens", 8]
    assert "(2 seeds)" not in run_to_end(EVALUATE, *flags, "--output", "merged.xlsx", cwd=adapted)


def test_merging_replaces_nothing_of_the_users(adapted: Path, refused) -> None:
    folder = adapted / "other"
    shutil.copytree(adapted / "pythia_finetuned", folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    (adapted / "other_merged").mkdir()
    (adapted / "other_merged" / "thesis.txt").write_text("mine")
    assert "exists and is no merged model; nothing was written" in refused(TUNE, "--merge", folder)
    assert (adapted / "other_merged" / "thesis.txt").read_text() == "mine"
    (folder / "training_record.json").unlink()
    assert "no training_record.json there; name the folder of a finished run" in refused(TUNE, "--merge", folder)


def test_evaluation_loads_the_adapter_with_its_base(adapted: Path) -> None:
    flags = ["--models", "pythia_finetuned", "--num_examples", 3, "--max_new_tokens", 8]
    run_to_end(EVALUATE, *flags, cwd=adapted)
    header, *rows = load_workbook(adapted / "eval_test.xlsx")["examples"].iter_rows(values_only=True)
    base, tuned = header.index("base"), header.index("finetuned")
    assert len(rows) == 3 and any(row[base] != row[tuned] for row in rows)


def test_the_snippet_of_the_card_works(adapted: Path, capsys: pytest.CaptureFixture) -> None:
    code = (adapted / "pythia_finetuned" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    with chdir(adapted):
        exec(code, {})
    assert capsys.readouterr().out.strip()


def test_gradient_checkpointing_trains_the_same(adapted: Path, tmp_path: Path) -> None:
    shutil.copytree(adapted / "base", copy_data(adapted, tmp_path) / "base")
    for choice in ("True", "False"):
        flags = ["--gradient_checkpointing", choice, "--output_dir", choice, "--bf16", "False", "--max_steps", 3]
        run_to_end(TUNE, *flags_of(adapted), *flags, "--eval_strategy", "no", cwd=tmp_path)
    first, second = (load_file(tmp_path / choice / ADAPTER) for choice in ("True", "False"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_an_adapter_replaces_a_complete_model(fine_tuned: Path, base: Path, data: Path) -> None:
    shutil.copytree(fine_tuned / "pythia_finetuned", data / "pythia_finetuned")
    run_to_end(TUNE, "--model", base, *FINE_TUNING, "--use_lora", "--max_steps", 1, "--restart", cwd=data)
    names = {file.name for file in (data / "pythia_finetuned").iterdir()}
    assert ADAPTER in names and not {WEIGHTS, "config.json"} & names


# What is refused


@pytest.mark.parametrize(
    ("script", "flags", "told"),
    [
        (PROCESS, ["--keep", "z-a"], "KEEP (--keep) 'z-a' is not a set of characters: bad character range z-a"),
        (PROCESS, ["--keep", r"\w"], r"name the characters themselves, a-zA-Z0-9_ instead of \w"),
        (PROCESS, ["--encoding", "utf-9"], "ENCODING (--encoding) 'utf-9' is unknown; utf-8, utf-16 and cp1252 are"),
        (PROCESS, ["--test_year", 2024], "TEST_YEAR (--test_year) goes with VENUE (--venue)"),
        (PROCESS, ["--venue", "A/B", "--dataset", "x"], "VENUE (--venue) goes with neither DATASET nor"),
        (PROCESS, ["--completion", "{decision}"], "COMPLETION (--completion) must have {summary} in it once"),
        (TUNE, ["--completion", "{decision}"], "COMPLETION (--completion) must have {summary} in it once"),
        (TUNE, ["--max_steps", 0], "--max_steps must be at least 1, or -1 for all EPOCHS, got 0"),
        (TUNE, ["--save_steps", 2.5], "--save_steps must be a number of steps, or a share of them below 1, got 2.5"),
        (EVALUATE, ["--num_examples", 1, "--save"], "--save adds a case that --reviews or --forum gives"),
        (EVALUATE, ["--forum", "abc", "--blind"], "--forum prints the meta-review of one paper and does not go with"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_line(script: str, flags: list, told: str, refused) -> None:
    assert told in refused(script, *flags)


def test_a_damaged_record_is_named(refused, tmp_path: Path) -> None:
    (tmp_path / TOKENIZED).mkdir()
    (tmp_path / TOKENIZED / "processing_record.json").write_text("{")
    assert "'tokenized_meta_review/processing_record.json' is damaged" in refused(TUNE)


def test_a_folder_of_the_users_or_of_another_script_is_left_alone(refused, fine_tuned: Path, data: Path) -> None:
    """Or one of ours in which the user keeps a file."""
    for name in ("thesis", PROCESSED):
        (data / name).mkdir(exist_ok=True)
        (data / name / "notes.txt").write_text("precious")
    refusals = [(PROCESS, "thesis"), (PROCESS, PROCESSED), (PROCESS, fine_tuned / "pythia_finetuned")]
    for script, folder in [*refusals, (TUNE, "thesis"), (TUNE, fine_tuned / PROCESSED)]:
        assert "holds something else" in refused(script, "--output_dir", folder)
    assert [path.name for path in (data / "thesis").iterdir()] == ["notes.txt"]
    assert (data / PROCESSED / "notes.txt").exists() and (fine_tuned / "pythia_finetuned" / WEIGHTS).exists()


def test_a_model_is_not_trained_into_its_own_base(refused, fine_tuned: Path) -> None:
    model = fine_tuned / "pythia_finetuned"
    flags = ["--model", model, *FINE_TUNING, "--output_dir", model, "--restart"]
    assert "is the model to start from" in refused(TUNE, *from_data(fine_tuned), *flags)


@pytest.mark.parametrize("service", ["nowhere", "comet_ml"])
def test_reporting_to_what_is_not_there(service: str, refused, fine_tuned: Path, base: Path) -> None:
    """A name that the Trainer does not know, and a package that is not installed."""
    flags = [*from_data(fine_tuned), "--model", base, *FINE_TUNING, "--report_to", service, "--output_dir", "new"]
    message = refused(TUNE, *flags)
    assert "--report_to" in message and service.split("_")[0] in message.lower()


def test_token_ids_of_another_tokenizer_without_the_texts(refused, data: Path, base: Path) -> None:
    shutil.rmtree(data / PROCESSED)
    shutil.copytree(base, data / "other")
    make_tokenizer("<end>").save_pretrained(data / "other")
    message = refused(TUNE, "--model_name_or_path", data / "other", *SMALL, "--max_new_tokens", 40)
    assert "differs in tokenizer" in message and "no 'processed_meta_review' here" in message


def test_another_process_in_the_same_folders_is_refused(
    refused, fine_tuned: Path, base: Path, source: Path, tmp_path: Path
) -> None:
    """While it lives: the lock of one that was killed does not count."""
    results, cases = "eval_examples_results.xlsx", ROOT / "eval_examples.xlsx"
    model = fine_tuned / "pythia_finetuned"
    commands = {
        "pythia_finetuned": (TUNE, *from_data(fine_tuned), "--model", base, *FINE_TUNING),
        TOKENIZED: (PROCESS, "--dataset_name", source, "--model", base),
        results: (EVALUATE, "--test_cases", cases, "--output", results, "--models", model),
    }
    holder = "import sys, time; from metareview.common.files import lock; "
    holder += "locks = list(map(lock, sys.argv[1:])); print(1, flush=True); time.sleep(99)"
    command = [sys.executable, "-c", holder, *(tmp_path / name for name in commands)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for name, command in commands.items():
            assert f"another process is writing to {str(tmp_path / name)!r}" in refused(*command)
        other.kill()
    assert lock(tmp_path / "pythia_finetuned").is_locked
