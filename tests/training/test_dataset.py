"""The examples to train on: the token ids that are there where they fit, the same texts tokenized again where not."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import PROCESSED, TOKENIZED, make_model, make_tokenizer
from datasets import load_from_disk

from fine_tune import FineTuningFlags
from metareview.common.cli import InputError
from metareview.data.splits import RECORD
from metareview.data.tokenization import TokenizationArguments, load_tokenizer
from metareview.training.dataset import choose_new_tokens, choose_tokenization, load_examples, load_texts


def load(processed: Path, folder: Path, **given: object) -> tuple[TokenizationArguments, dict, dict]:
    """How texts are tokenized, examples and record, as fine_tune.py gets them."""
    data = {"processed_dir": str(processed / PROCESSED), "tokenized_dir": str(processed / TOKENIZED)}
    flags = FineTuningFlags(**data | given)
    how = choose_tokenization(flags)
    return how, *load_examples(flags, load_texts(flags.processed_dir), how, load_tokenizer(how))


@pytest.mark.parametrize("given", [{}, {"tokenized_dir": "nowhere"}], ids=["token ids", "texts"])
def test_what_the_record_says_is_followed(given: dict, processed: Path, base: Path, tmp_path: Path, capsys) -> None:
    """Model, prompt and lengths need not be given again; the record of the texts serves as well."""
    how, examples, record = load(processed, tmp_path, **given)
    assert how.model_name_or_path == str(base) == record["model"]
    assert (how.max_length, how.max_summary_tokens, record["asked_max_length"]) == (256, 100, None)
    saved = load_from_disk(str(processed / TOKENIZED))
    assert all(examples[name].to_list() == saved[name].to_list() for name in saved)
    assert ("again: there is no nowhere." in capsys.readouterr().out) == bool(given)


def test_what_differs_is_named_and_tokenized_again(processed: Path, tmp_path: Path, capsys) -> None:
    """Another model has its own whole context, where processing was not told a max_length."""
    other = tmp_path / "other"
    make_model("gpt_neox", context=512).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    assert load(processed, tmp_path, model=str(other))[2]["max_length"] == 512
    assert "differs in max_length." in capsys.readouterr().out
    _, _, record = load(processed, tmp_path, prompt="instruction")
    assert record["prompt_template"].startswith("Write a meta-review that condenses")
    assert "differs in prompt_template, frame." in capsys.readouterr().out
    make_tokenizer("<end>").save_pretrained(other)
    with pytest.raises(InputError, match=r"no 'nowhere' here, and .* differs in .*tokenizer"):
        load(processed, tmp_path, model=str(other), processed_dir="nowhere")


def test_no_longer_texts_than_were_learned() -> None:
    assert (choose_new_tokens(None, 100), choose_new_tokens(100, 100)) == (100, 100)
    with pytest.raises(InputError, match=r"MAX_NEW_TOKENS .* must be at most MAX_SUMMARY_TOKENS of the data \(100\)"):
        choose_new_tokens(101, 100)


def copy_with(folder: Path, copy: Path, **changes: object) -> str:
    """A copy of a folder of data, whose record differs in `changes`; None: as a version that did not record it."""
    shutil.copytree(folder, copy)
    record = json.loads((copy / RECORD).read_text()) | changes
    (copy / RECORD).write_text(json.dumps({name: value for name, value in record.items() if value is not None}))
    return str(copy)


def test_texts_and_token_ids_of_different_data_are_refused(processed: Path, tmp_path: Path, capsys) -> None:
    """Unless only the texts are named: then the usual TOKENIZED_DIR is left over."""
    for name in ("dataset_name", "keep"):
        other = copy_with(processed / TOKENIZED, tmp_path / name, **{name: "other"})
        with pytest.raises(InputError, match=f"differ in {name}: name both folders"):
            load(processed, tmp_path, tokenized_dir=other)
    new = copy_with(processed / PROCESSED, tmp_path / "new", dataset_name="d", completion="{summary}!")
    how, _, record = load(processed, tmp_path, processed_dir=new)
    assert (how.completion, record["dataset_name"]) == ("{summary}!", "d")
    load(processed, tmp_path, processed_dir="nowhere")
    assert "There is no PROCESSED_DIR 'nowhere'; the examples are those of" in capsys.readouterr().out


def test_what_is_not_there_and_what_was_not_processed(source: Path) -> None:
    assert load_texts("nowhere") == {}
    for name in (str(source), str(source / "train.csv")):
        with pytest.raises(InputError, match=r"no split 'train' with rows and .* processing_meta_review.py --dataset "):
            load_texts(name)


def test_data_of_a_version_without_completions_are_used_as_they_are(processed: Path, tmp_path: Path, capsys) -> None:
    load(processed, tmp_path, tokenized_dir=copy_with(processed / TOKENIZED, tmp_path / TOKENIZED, completion=None))
    assert "again" not in capsys.readouterr().out
