"""Variants: which models are meant, what they are called, and how each reads and writes."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from metareview.common.cli import InputError
from metareview.common.model import hash_weights
from metareview.data.prompts import PROMPTS
from metareview.generation.variants import check_cleaning, choose_models, find_variants, group_seeds, name_models


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_folder(name: str, **record: object) -> str:
    """A folder that looks like a finished model."""
    Path(name).mkdir(parents=True)
    Path(name, "config.json").write_text("{}")
    Path(name, "training_record.json").write_text(json.dumps(record))
    return name


def test_patterns_give_finished_models_alone(capsys: pytest.CaptureFixture) -> None:
    for name in ("models/b", "models/a", "models/ab"):
        make_folder(name)
    Path("models/ac/checkpoint-3").mkdir(parents=True)
    Path("models/a.txt").touch()
    assert choose_models(["models/a*"]) == ["models/a", "models/ab"]
    assert capsys.readouterr().out == "Skipped, no finished model: models/ac\n"
    assert choose_models(["models/b", "models/*", "./models/b", "me/on-the-hub"]) == [
        "models/b", "models/a", "models/ab", "me/on-the-hub"]  # fmt: skip


def test_the_newest_model_is_the_default() -> None:
    make_folder("models/early", finished="2026-01-01T10:00:00")
    make_folder("models/late", finished="2026-01-02T09:00:00")
    os.utime("models/early")
    make_folder("models/old")  # its record does not say when
    assert choose_models(None) == ["models/late"]


@pytest.mark.parametrize("name", [None, "models/*", "models/a", "./b"])
def test_no_finished_model(name: str | None) -> None:
    Path("models/a").mkdir(parents=True)
    wanted = name or "models/*"
    with pytest.raises(InputError, match=re.escape(f"no finished model in {wanted!r}. First: python fine_tune.py")):
        choose_models(name)


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["models/a", "me/b"], ["a", "b"]),
        (["me/a", "you/a", "b"], ["me/a", "you/a", "b"]),
        (["x/1/a", "x/2/a", "y/2/a"], ["1/a", "x/2/a", "y/2/a"]),
        (["me/lead", "me/Tie", "me/reference"], ["me/lead", "me/Tie", "me/reference"]),  # mean something else
    ],
)
def test_names_are_short_and_tell_models_apart(models: list[str], names: list[str]) -> None:
    assert name_models({model: {} for model in models}) == dict(zip(models, names, strict=True))


def describe(variants: list) -> list[tuple]:
    return [(variant.name, variant.base, variant.fine_tuned) for variant in variants]


def test_each_base_once_and_first(capsys: pytest.CaptureFixture) -> None:
    for name, base in (("m/a", "hub/one"), ("m/b", "hub/two"), ("m/c", "hub/one"), ("m/on-a", "m/a")):
        make_folder(name, base_model=base, prompt_template=PROMPTS["plain"])
    assert describe(find_variants(["m/*"], None, None, None)) == [
        ("one", None, False), ("two", None, False), ("a", "one", True), ("b", "two", True), ("c", "one", True),
        ("on-a", "a", True)]  # fmt: skip
    assert describe(find_variants(["m/c"], "hub/other", None, None)) == [("other", None, False), ("c", "other", True)]
    assert capsys.readouterr().out == ""
    make_folder("alone")
    assert describe(find_variants(["alone"], None, None, None)) == [("alone", None, True)]
    assert "alone does not record its base; BASE_MODEL names one" in capsys.readouterr().out
    Path("adapter").mkdir()
    Path("adapter/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "hub/one"}))
    assert describe(find_variants(["adapter"], None, None, None)) == [("one", None, False), ("adapter", "one", True)]
    make_folder("t/base")
    make_folder("t/tuned", base_model="t/base")
    for spelling in (["t/tuned", "t/base"], ["./t/*"], [str(Path("t").absolute() / "*")]):
        assert describe(find_variants(spelling, None, None, None)) == [("base", None, False), ("tuned", "base", True)]


def test_a_base_that_has_been_trained_again_is_no_base_any_more(capsys: pytest.CaptureFixture) -> None:
    make_folder("base")
    Path("base/model.safetensors").write_bytes(b"before")
    record = {"base_model": "base", "settings": {"base_weights": hash_weights(Path("base"))}}
    for name in ("whole", "adapter"):
        make_folder(name, **record)
    Path("adapter/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base"}))
    assert [one.name for one in find_variants(["whole", "adapter"], None, None, None)] == ["base", "whole", "adapter"]
    Path("base/model.safetensors").write_bytes(b"after")
    assert describe(find_variants(["whole"], None, None, None)) == [("whole", None, True)]
    assert "whole was trained from weights that are not in base now; BASE_MODEL names one" in capsys.readouterr().out
    assert len(find_variants(["whole"], "base", None, None)) == 2
    shutil.rmtree("base")
    assert describe(find_variants(["whole"], None, None, None)) == [("whole", None, True)]
    with pytest.raises(InputError, match=r"^'adapter' is an adapter for weights that are not in 'base' now"):
        find_variants(["adapter"], None, None, None)


def test_each_reads_and_writes_as_in_its_training(capsys: pytest.CaptureFixture) -> None:
    settings = {"prompt_template": PROMPTS["word_limit"], "keep": "a-z", "max_new_tokens": 50, "max_length": 300}
    make_folder("a", base_model="hub/one", **settings, max_summary_tokens=99)
    make_folder("b", base_model="hub/one")
    make_folder("c", base_model="hub/one", prompt_template="My {review}:\n", keep="a-z", max_summary_tokens=50)
    make_folder("d", base_model="hub/one")
    base, first, second, *_ = find_variants(["a", "b", "c", "d"], None, None, None)
    assert capsys.readouterr().out == (
        "one has the settings of a (PROMPT word_limit, KEEP a-z, MAX_NEW_TOKENS 50); "
        "b, d: PROMPT plain, KEEP a-zA-Z0-9, MAX_NEW_TOKENS 256; c: PROMPT My {review}:, KEEP a-z, MAX_NEW_TOKENS 50.\n"
    )
    assert base.settings.prompt == first.settings.prompt == PROMPTS["word_limit"]
    assert (base.keep, base.max_new_tokens, base.settings.max_length) == ("a-z", 50, 300) and base.record == {}
    assert (second.keep, second.max_new_tokens) == ("a-zA-Z0-9", 256)
    assert all(variant.settings.prompt == "plain" for variant in find_variants(["a", "b"], None, "plain", None))
    make_folder(
        "next", base_model="a", prompt_template=PROMPTS["plain"], frame=["<user>### Review:\n", "\n\n", "<end>"]
    )
    base, _ = find_variants(["next"], None, None, None)
    assert (base.keep, base.settings.prompt) == ("a-z", PROMPTS["word_limit"])  # its own
    base, model = find_variants(["next"], "hub/other", None, None)  # perhaps with another chat template
    assert (base.settings.prompt, base.settings.frame) == (
        PROMPTS["plain"],
        None,
    ) and model.settings.frame.end == "<end>"


@pytest.mark.parametrize(
    ("asked", "record", "tokens"),
    [
        (None, {"max_summary_tokens": 300, "max_new_tokens": 40}, 40),
        (300, {"max_summary_tokens": 300, "max_new_tokens": 40}, 300),
        (None, {"max_summary_tokens": 100}, 100),  # no more than there is room for
    ],
)
def test_texts_may_be_as_long_as_the_model_was_saved_with(asked: int | None, record: dict, tokens: int) -> None:
    make_folder("a", base_model="hub/one", **record)
    assert [variant.max_new_tokens for variant in find_variants(["a"], None, None, asked)] == [tokens] * 2
    with pytest.raises(InputError, match=r"MAX_NEW_TOKENS .* must be at most .*, \d+; got 513"):
        find_variants(["a"], None, None, 513)


def test_a_group_is_every_setting_but_the_seed() -> None:
    """Models of one name in two folders, trained on other texts, are no seeds of each other."""
    for folder, texts in (("one", "a"), ("two", "b")):
        for seed in (1, 2):
            settings = {"learning_rate": 1e-3, "texts": texts, "seed": seed}
            make_folder(f"{folder}/m{seed}", base_model="hub/one", group="m", settings=settings)
    make_folder("three/other", base_model="hub/one", group="other", settings={"learning_rate": 1e-4})
    variants = [one for one in find_variants(["one/*", "two/*", "three/*"], None, None, None) if one.fine_tuned]
    first, second, other = group_seeds(variants)
    assert group_seeds(variants)[first] == ["one/m1", "one/m2"] and other == "other"
    shutil.copytree("one/m1", "one/m1 again")
    copied = [one for one in find_variants(["one/m1", "one/m1 again"], None, None, None) if one.fine_tuned]
    assert group_seeds(copied) == {"m1": ["m1"], "m1 again": ["m1 again"]}
    assert first != second and all(re.fullmatch(r"m \(2 seeds\) \[[0-9a-f]{6}\]", name) for name in (first, second))


def test_weights_of_an_earlier_step_have_it_in_their_name() -> None:
    """A checkpoint has the record of its run, with its own step; the best weights may be those of an earlier step."""
    results = {"epochs": 2.0, "steps": 48, "saved_step": 48, "saved_epoch": 2.0, "eval_loss": 3.0, "train_loss": 2.0}
    record = {"base_model": "hub/one", "group": "m", "keep": "a-z", "results": results}
    make_folder("models/m", **record, settings={"save": "last"})
    make_folder("models/best", **record | {"results": results | {"saved_step": 6}}, settings={"save": "best"})
    Path("models/m/checkpoint-6").mkdir()
    Path("models/m/checkpoint-6/config.json").write_text("{}")
    _, *models = find_variants(["models/m", "models/m/checkpoint-6", "models/best"], None, None, None)
    assert [model.name for model in models] == ["m", "m/checkpoint-6 (step 6 of 48)", "best (step 6 of 48)"]
    assert (models[1].base, models[1].keep) == ("one", "a-z")
    own = models[1].record["results"]
    assert (own["saved_step"], own["saved_epoch"], own["eval_loss"]) == (6, 0.25, None)
    assert len(group_seeds(models)) == 3
    make_folder("models/next", base_model="models/best", results=results)
    assert [model.name for model in find_variants(["models/next"], None, None, None)] == ["best (step 6 of 48)", "next"]


def test_data_cleaned_to_less_than_a_model_was_trained_on_are_refused() -> None:
    for name, keep in (("a", "a-zA-Z0-9"), ("b", "a-zA-Z0-9.,")):
        make_folder(name, base_model="hub/one", keep=keep)
    models = [one for one in find_variants(["a", "b"], None, None, None) if one.fine_tuned]
    check_cleaning(models, "data", "a-zA-Z0-9.,;")
    check_cleaning(models[:1], "data", "a-zA-Z0-9")
    with pytest.raises(InputError, match=r"^'data' is cleaned to 'a-zA-Z0-9', but b was trained on texts with .*KEEP"):
        check_cleaning(models, "data", "a-zA-Z0-9")


def test_a_checkpoint_of_a_run_that_has_not_finished_is_refused() -> None:
    """How the model reads is recorded at the end; the record of a finished run that is begun again is of that one."""
    for is_again in (False, True):
        make_folder(f"{is_again}/checkpoint-6")
        Path(f"{is_again}/checkpoint-6/training_record.json").unlink()
        Path(f"{is_again}/run.json").write_text(json.dumps({"settings": {}, "is_finished": False}))
        if is_again:
            Path(f"{is_again}/training_record.json").write_text("{}")
        with pytest.raises(InputError, match=f"'{is_again}/checkpoint-6' is of a run that has not finished"):
            find_variants([f"{is_again}/checkpoint-6"], None, None, None)
