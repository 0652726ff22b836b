"""Every wrong input: one or two clear lines, exit status 2, nothing overwritten, nothing loaded for a wrong flag."""

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FINE_TUNING, make_rows, make_tokenizer, run_script, write_csv
from openpyxl import Workbook

SMALL = ["--max_summary_tokens", 100]  # what the tiny context of the tests' model has room for
PROCESS, TUNE, EVALUATE = "processing_meta_review.py", "fine_tune.py", "evaluation.py"


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        (PROCESS, ["--max_len", 10], ["unknown argument", "--max_len"]),
        (PROCESS, ["--max_length", "long"], ["--max_length", "invalid int value", "long"]),
        (PROCESS, ["--max_length", 0], ["--max_length", "at least 1"]),
        (PROCESS, ["--keep", "z-a"], ["--keep", "z-a"]),
        (PROCESS, ["--prompt", "no place"], ["{review}", "no place"]),
        (TUNE, ["--prompt", "word_limt"], ["plain, instruction, word_limit", "word_limt"]),
        (EVALUATE, ["--prompt", "word_limt"], ["plain, instruction, word_limit", "word_limt"]),
        (TUNE, ["--learning_rate=-1e-5"], ["--learning_rate", "greater than 0", "-1e-05"]),
        (TUNE, ["--num_train_epochs", 0], ["--num_train_epochs", "greater than 0"]),
        (TUNE, ["--num_train_epochs", "inf"], ["--num_train_epochs", "finite"]),
        (TUNE, ["--metric_for_best_model", "eval_runtime"], ["--metric_for_best_model", "eval_loss"]),
        (TUNE, ["--learning", "1e-5"], ["unknown argument", "--learning"]),
        (TUNE, ["--per_device_train_batch_size", 0], ["--per_device_train_batch_size"]),
        (TUNE, ["--lr_scheduler_type", "wavy"], ["wavy"]),
        (TUNE, ["--max_new_tokens", 600], ["--max_new_tokens", "512"]),
        (EVALUATE, ["--num_examples", 0], ["--num_examples", "at least 1"]),
        (EVALUATE, ["extra"], ["unknown argument", "extra"]),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_loaded(refused, script: str, flags: list, words: list[str]) -> None:
    message = refused(script, "--model_name_or_path", "no_such_folder/that/could/load", *flags)
    assert all(word in message for word in words), message


def test_missing_columns_are_named_with_those_that_are_there(refused, base: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"text": "a", "target": "b"}])
    message = refused(PROCESS, "--dataset_name", "a.csv", "--model_name_or_path", base, *SMALL)
    assert "'Input' or 'review'" in message and "target, text" in message and "--review_column" in message


def test_empty_split_and_empty_file(refused, base: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", make_rows(30))
    write_csv(tmp_path / "validation.csv", [{"Input": "!", "Output": "?"}])
    write_csv(tmp_path / "test.csv", make_rows(3))
    assert "'validation'" in refused(PROCESS, "--dataset_name", tmp_path, "--model_name_or_path", base, *SMALL)
    (tmp_path / "b.csv").write_text("Input,Output\n")
    refused(PROCESS, "--dataset_name", "b.csv", "--model_name_or_path", base, *SMALL)
    assert not (tmp_path / "processed_meta_review").exists()


def test_file_of_another_kind_and_broken_file(refused, base: Path, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")
    assert ".csv, .json" in refused(PROCESS, "--dataset_name", "a.docx", "--model_name_or_path", base, *SMALL)
    (tmp_path / "b.json").write_text("{ this is not JSON")
    flags = ["--dataset_name", "b.json", "--model_name_or_path", base, *SMALL]
    result = run_script(PROCESS, *flags, cwd=tmp_path)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "error: cannot read the data set 'b.json': JSON parse error" in result.stderr


def test_context_too_small(refused, base: Path, source: Path) -> None:
    message = refused(PROCESS, "--dataset_name", source, "--model_name_or_path", base)
    assert "context of 256 tokens is too small" in message and "512" in message and "--max_summary_tokens" in message
    message = refused(PROCESS, "--dataset_name", source, "--model_name_or_path", base, "--max_length", 300)
    assert "--max_length is 300" in message and "256" in message


def test_folder_that_is_no_model(refused, source: Path) -> None:
    assert "cannot read the model" in refused(PROCESS, "--dataset_name", source, "--model_name_or_path", source)


@pytest.mark.parametrize("flag", ["--output_dir", "--tokenized_dir"])
def test_output_folder_of_something_else_is_left_alone(refused, tmp_path: Path, flag: str) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    assert "'thesis'" in refused(PROCESS, flag, "thesis")
    if flag == "--output_dir":
        assert "'thesis'" in refused(TUNE, flag, "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"
    assert len(list((tmp_path / "thesis").iterdir())) == 1


def test_the_folders_of_the_scripts_do_not_replace_one_another(refused, fine_tuned: Path) -> None:
    model, data = fine_tuned / "pythia_finetuned", fine_tuned / "processed_meta_review"
    assert "holds something else" in refused(PROCESS, "--output_dir", model)
    assert "holds something else" in refused(TUNE, "--output_dir", data)
    assert (model / "model.safetensors").exists() and (data / "dataset_dict.json").exists()


@pytest.mark.parametrize("tokenized", ["data", "data/tokens"])
def test_one_output_folder_never_lies_in_the_other(refused, source: Path, base: Path, tokenized: str) -> None:
    flags = [
        "--dataset_name",
        source,
        "--model_name_or_path",
        base,
        "--output_dir",
        "data",
        "--tokenized_dir",
        tokenized,
    ]
    assert "in one another" in refused(PROCESS, *flags)


def test_a_file_of_the_users_in_an_output_folder_is_not_lost(refused, processed: Path, tmp_path: Path) -> None:
    shutil.copytree(processed / "processed_meta_review", tmp_path / "processed_meta_review")
    (tmp_path / "processed_meta_review" / "notes.txt").write_text("precious")
    assert "holds something else" in refused(PROCESS)
    assert (tmp_path / "processed_meta_review" / "notes.txt").read_text() == "precious"


def test_cleaned_data_are_not_cleaned_again(refused, processed: Path, base: Path) -> None:
    flags = ["--dataset_name", processed / "processed_meta_review", "--model_name_or_path", base, *SMALL]
    assert "cleaned already" in refused(PROCESS, *flags)


def test_every_summary_too_long(refused, source: Path, base: Path) -> None:
    flags = ["--dataset_name", source, "--model_name_or_path", base, "--max_summary_tokens", 5]
    assert "no summary of 'train' fits" in refused(PROCESS, *flags)


def test_restart_deletes_nothing_before_all_else_is_right(refused, fine_tuned: Path, tmp_path: Path) -> None:
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "pythia_finetuned")
    before = sorted(tmp_path.rglob("*"))
    refused(TUNE, "--restart", "--model_name_or_path", fine_tuned / "pythia_finetuned", "--dataset_name", "nowhere")
    assert sorted(tmp_path.rglob("*")) == before


def test_resuming_something_else_is_refused(refused, fine_tuned: Path, base: Path) -> None:
    checkpoint = fine_tuned / "pythia_finetuned" / "checkpoint-12"
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING[:-2]]
    message = refused(TUNE, *data, "--num_train_epochs", 1, "--resume_from_checkpoint", checkpoint)
    assert "beyond the 6 steps asked for" in message and "--num_train_epochs" in message
    flags = [*data, "--num_train_epochs", 2, "--learning_rate", 1e-4, "--seed", 1]
    message = refused(TUNE, *flags, "--resume_from_checkpoint", checkpoint)
    assert "differs in learning_rate, seed;" in message and "--restart" in message
    assert "not whole" in refused(TUNE, *data, "--resume_from_checkpoint", fine_tuned)


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--learning_rate", "1e-4"], "learning_rate"),
        (["--seed", "1"], "seed"),
        (["--per_device_train_batch_size", "2"], "examples_per_step"),
        (["--use_lora"], "use_lora"),
        (["--prompt", "instruction"], "prompt_template"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    flags: list, difference: str, refused, fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    """Finished, and interrupted: the same words, and nothing changes."""
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "finished")
    for name in ("finished/checkpoint-10", "finished/checkpoint-12"):
        shutil.copytree(tmp_path / name, tmp_path / name.replace("finished", "interrupted"))
    for folder in ("finished", "interrupted"):
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / folder).rglob("*")}
        message = refused(TUNE, *data, *flags, "--output_dir", folder)
        assert difference in message.partition("differs in")[2].partition(";")[0]
        assert "--restart" in message and "--output_dir" in message
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / folder).rglob("*")} == before


@pytest.mark.parametrize("where", ["nowhere", "comet_ml"])
def test_reporting_to_what_is_not_there(where: str, refused, fine_tuned: Path, base: Path) -> None:
    """A name that the Trainer does not know, and a package that is not installed."""
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    message = refused(TUNE, *data, "--report_to", where, "--output_dir", "new")
    assert "--report_to" in message and where.split("_")[0] in message.lower()


def test_no_data_yet(refused, base: Path) -> None:
    assert "First: python processing_meta_review.py" in refused(
        TUNE, "--model_name_or_path", base, *SMALL, "--max_new_tokens", 40
    )


def test_data_that_was_not_processed(refused, base: Path, source: Path) -> None:
    message = refused(TUNE, "--model_name_or_path", base, "--dataset_name", source, *SMALL, "--max_new_tokens", 40)
    assert "review and summary" in message and "python processing_meta_review.py" in message


def test_tokenized_set_alone_of_another_tokenizer(refused, processed: Path, base: Path, tmp_path: Path) -> None:
    shutil.copytree(processed / "tokenized_meta_review", tmp_path / "tokenized_meta_review")
    other = tmp_path / "other"
    shutil.copytree(base, other)
    make_tokenizer("<end>").save_pretrained(other)
    message = refused(TUNE, "--model_name_or_path", other, *SMALL, "--max_new_tokens", 40)
    assert "differs in tokenizer" in message and "no 'processed_meta_review' here" in message


def test_evaluation_before_training(refused, tmp_path: Path) -> None:
    assert "First: python fine_tune.py" in refused(EVALUATE)
    (tmp_path / "pythia_finetuned").mkdir()
    assert "no finished model" in refused(EVALUATE)


def test_bad_workbooks(refused, fine_tuned: Path, tmp_path: Path) -> None:
    model = ["--model_name_or_path", fine_tuned / "pythia_finetuned"]
    assert "no workbook 'eval_examples.xlsx'" in refused(EVALUATE, *model)
    (tmp_path / "a.xlsx").write_text("this is text")
    assert "no .xlsx workbook" in refused(EVALUATE, *model, "--test_cases", "a.xlsx")
    assert (tmp_path / "a.xlsx").read_text() == "this is text"
    for name, rows, words in (
        ("b.xlsx", [["text", "other"], ["a", "b"]], ["'review'", "text, other"]),
        ("c.xlsx", [["review", "reference"]], ["no row with a review"]),
        ("d.xlsx", [], ["'review'", "none"]),
        ("e.xlsx", [["review", "base"], ["a", "my own remark"]], ["'base'", "rename"]),
        ("f.xlsx", [["review", "reference"], ["=A1", "b"]], ["row 2", "formula"]),
    ):
        workbook = Workbook()
        for row in rows:
            workbook.active.append(row)
        workbook.save(tmp_path / name)
        before = (tmp_path / name).read_bytes()
        message = refused(EVALUATE, *model, "--test_cases", name)
        assert all(word in message for word in words), message
        assert (tmp_path / name).read_bytes() == before


def test_num_examples_never_touches_the_test_cases(refused, fine_tuned: Path) -> None:
    flags = ["--model_name_or_path", fine_tuned / "pythia_finetuned", "--num_examples", 2]
    assert "never writes" in refused(EVALUATE, *flags, "--output", "eval_examples.xlsx")
    data = ["--dataset_name", fine_tuned / "processed_meta_review"]
    assert "no split 'dev'" in refused(EVALUATE, *flags, *data, "--split", "dev")


@pytest.fixture
def empty_hub() -> Iterator[str]:
    """A Hub on loopback that has no repository at all."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"error": "Repository not found"}).encode()
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_unknown_model_and_data_set(empty_hub: str, base: Path, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": empty_hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
    result = run_script(PROCESS, cwd=tmp_path, **environment)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "the model 'EleutherAI/pythia-70m': it is neither here nor for you to use on the Hub" in result.stderr
    result = run_script(PROCESS, "--model_name_or_path", base, *SMALL, cwd=tmp_path, **environment)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "the data set 'zqz979/meta-review': it is neither here nor for you to use on the Hub" in result.stderr
    assert empty_hub in result.stderr and "HF_TOKEN" in result.stderr


def test_hub_out_of_reach(tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
    result = run_script(PROCESS, cwd=tmp_path, **environment)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert "out of reach" in last and "make demo" in last and "HF_ENDPOINT" in last
