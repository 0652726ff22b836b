"""The examples to train on: the token ids that are there where they fit, the same texts tokenized again where not."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import make_arguments, make_model, make_tokenizer
from datasets import load_from_disk

from fine_tune import FineTuningFlags
from metareview.common.cli import InputError
from metareview.data.tokenization import TokenizationArguments, load_tokenizer
from metareview.training.dataset import choose_new_tokens, choose_tokenization, load_examples, load_texts


def load(processed: Path, folder: Path, **given: object) -> tuple[TokenizationArguments, dict, dict]:
    """How texts are tokenized, examples and record, as fine_tune.py gets them."""
    data = {"processed_dir": str(processed / "processed_meta_review"), "max_new_tokens": 40}
    data["tokenized_dir"] = str(processed / "tokenized_meta_review")
    flags = FineTuningFlags(**data | given)
    how = choose_tokenization(flags)
    tokenizer = load_tokenizer(how)
    return how, *load_examples(flags, make_arguments(folder), how, tokenizer)


@pytest.mark.parametrize("given", [{}, {"tokenized_dir": "nowhere"}], ids=["token ids", "texts"])
def test_what_the_record_says_is_followed(given: dict, processed: Path, base: Path, tmp_path: Path, capsys) -> None:
    """Model, prompt and lengths need not be given again; the record of the texts serves as well."""
    how, examples, record = load(processed, tmp_path, **given)
    assert how.model_name_or_path == str(base) == record["model"]
    assert (how.max_length, how.max_summary_tokens, record["asked_max_length"]) == (256, 100, None)
    saved = load_from_disk(str(processed / "tokenized_meta_review"))
    assert all(examples[name].to_list() == saved[name].to_list() for name in saved)
    assert ("again: there is no nowhere." in capsys.readouterr().out) == bool(given)


def test_what_differs_is_named_and_tokenized_again(processed: Path, tmp_path: Path, capsys) -> None:
    """Another model has its own whole context, where processing was not told a max_length."""
    other = tmp_path / "other"
    make_model("gpt_neox", context=512).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    _, _, record = load(processed, tmp_path, model=str(other))
    assert record["max_length"] == 512
    assert "differs in max_length." in capsys.readouterr().out
    _, _, record = load(processed, tmp_path, prompt="instruction")
    assert record["prompt_template"].startswith("Write a meta-review that condenses")
    assert "differs in prompt_template." in capsys.readouterr().out
    make_tokenizer("<end>").save_pretrained(other)
    with pytest.raises(InputError, match=r"no 'nowhere' here, and .* does not fit: it differs in .*tokenizer"):
        load(processed, tmp_path, model=str(other), processed_dir="nowhere")


def test_no_longer_texts_than_were_learned() -> None:
    assert (choose_new_tokens(None, 100), choose_new_tokens(100, 100)) == (100, 100)
    with pytest.raises(InputError, match=r"MAX_NEW_TOKENS .* must be at most MAX_SUMMARY_TOKENS of the data \(100\)"):
        choose_new_tokens(101, 100)


def test_texts_and_token_ids_of_different_data_are_refused(processed: Path, tmp_path: Path, capsys) -> None:
    """And where only model or prompt differ, whose are used is told; so it is where there are no texts."""
    for name in ("dataset_name", "keep", "completion"):
        folder = shutil.copytree(processed / "tokenized_meta_review", tmp_path / name)
        record = json.loads((folder / "processing_record.json").read_text())
        (folder / "processing_record.json").write_text(json.dumps(record | {name: "{summary}."}))
        if name != "completion":
            with pytest.raises(InputError, match=rf"are of different data \({name}: .*: name both folders"):
                load(processed, tmp_path, tokenized_dir=str(folder))
    how, _, _ = load(processed, tmp_path, tokenized_dir=str(folder))
    assert "differ in completion; that of TOKENIZED_DIR is used" in capsys.readouterr().out
    assert how.completion == "{summary}."
    new = shutil.copytree(processed / "processed_meta_review", tmp_path / "new")
    record = json.loads((new / "processing_record.json").read_text())
    (new / "processing_record.json").write_text(json.dumps(record | {"dataset_name": "d", "completion": "{summary}!"}))
    how, _, record = load(processed, tmp_path, processed_dir=str(new))  # the usual TOKENIZED_DIR is left over
    assert (how.completion, record["dataset_name"]) == ("{summary}!", "d")
    load(processed, tmp_path, processed_dir="nowhere")
    assert "There is no PROCESSED_DIR 'nowhere'; the examples are those of" in capsys.readouterr().out


def test_what_is_not_there_and_what_was_not_processed(source: Path, tmp_path: Path) -> None:
    assert load_texts("nowhere") == {}
    with pytest.raises(InputError, match="no split 'train' with rows and the columns review and summary"):
        load_texts(str(source))
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match=r"is a file. First: python processing_meta_review.py --dataset .*a.csv"):
        load_texts(str(tmp_path / "a.csv"))


def test_data_of_a_version_without_completions_are_used_as_they_are(processed: Path, tmp_path: Path, capsys) -> None:
    folder = shutil.copytree(processed / "tokenized_meta_review", tmp_path / "tokenized_meta_review")
    record = json.loads((folder / "processing_record.json").read_text())
    del record["completion"]
    (folder / "processing_record.json").write_text(json.dumps(record))
    load(processed, tmp_path / "out", tokenized_dir=str(folder))
    assert "again" not in capsys.readouterr().out
