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
from metareview.generation import variants
from metareview.generation.variants import Variant, check_cleaning, choose_models, group_seeds, name_models


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_folder(name: str, base_model: str | None = "hub/one", **record: object) -> None:
    """A folder that looks like a finished model."""
    Path(name).mkdir(parents=True)
    Path(name, "config.json").write_text("{}")
    Path(name, "training_record.json").write_text(json.dumps({"base_model": base_model, **record}))


def make_adapter(name: str, base: str) -> None:
    Path(name).mkdir(exist_ok=True)
    Path(name, "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))


def find_variants(*names: str, base: str | None = None, prompt: str = "", tokens: int | None = None) -> list[Variant]:
    return variants.find_variants(list(names), base, prompt or None, tokens)


def find_fine_tuned(*names: str) -> list[Variant]:
    return [variant for variant in find_variants(*names) if variant.fine_tuned]


def find_bases(*names: str, base: str | None = None) -> list[tuple[str, str | None]]:
    """Each variant with its base."""
    return [(variant.name, variant.base) for variant in find_variants(*names, base=base)]


def test_patterns_give_finished_models_alone_and_the_newest_is_the_default(capsys: pytest.CaptureFixture) -> None:
    for name, day in (("models/b", 1), ("models/a", 2), ("models/ab", 1)):
        make_folder(name, finished=f"2026-01-0{day}")
    make_folder("models/old")  # its record does not say when
    os.utime("models/b")
    assert choose_models(None) == ["models/a"]
    Path("models/ac/checkpoint-3").mkdir(parents=True)
    Path("models/a.txt").touch()
    assert choose_models(["models/a*"]) == ["models/a", "models/ab"]
    assert capsys.readouterr().out == "Skipped, no finished model: models/ac\n"
    names = ["models/b", "models/*", "./models/b", "me/on-the-hub"]
    assert choose_models(names) == ["models/b", "models/a", "models/ab", "models/old", "me/on-the-hub"]


@pytest.mark.parametrize("name", ["models/*", "models/a", "./b"])
def test_no_finished_model(name: str) -> None:
    Path("models/a").mkdir(parents=True)
    with pytest.raises(InputError, match=re.escape(f"no finished model in {name!r}. First: python fine_tune.py")):
        choose_models([name])


def test_names_are_short_and_tell_models_apart() -> None:
    """Lead means something else in a workbook."""
    models = ["x/1/a", "x/2/a", "y/2/a", "me/b", "me/Lead"]
    assert list(name_models({model: {} for model in models}).values()) == ["1/a", "x/2/a", "y/2/a", "b", "me/Lead"]


def test_each_base_once_and_first(capsys: pytest.CaptureFixture) -> None:
    for name, base in (("m/a", "hub/one"), ("m/b", "hub/two"), ("m/c", "hub/one"), ("m/on-a", "m/a")):
        make_folder(name, base)
    models = [("a", "one"), ("b", "two"), ("c", "one"), ("on-a", "a")]
    assert find_bases("m/*") == [("one", None), ("two", None), *models]
    assert [model.name for model in find_fine_tuned("m/*")] == ["a", "b", "c", "on-a"]
    assert find_bases("m/c", base="hub/other") == [("other", None), ("c", "other")]
    assert capsys.readouterr().out == ""
    make_folder("alone", None)
    assert find_bases("alone") == [("alone", None)]
    assert capsys.readouterr().out.startswith("alone does not record its base")
    make_adapter("adapter", "hub/one")
    assert find_bases("adapter") == [("one", None), ("adapter", "one")]
    make_folder("t/base", None)
    make_folder("t/tuned", "t/base")
    for spelling in (["t/tuned", "t/base"], ["./t/*"], [str(Path("t").absolute() / "*")]):
        assert find_bases(*spelling) == [("base", None), ("tuned", "base")]


def test_a_base_that_has_been_trained_again_is_no_base_any_more(capsys: pytest.CaptureFixture) -> None:
    make_folder("base")
    Path("base/model.safetensors").write_bytes(b"before")
    for name in ("whole", "adapter"):
        make_folder(name, "base", settings={"base_weights": hash_weights(Path("base"))})
    make_adapter("adapter", "base")
    assert find_bases("whole", "adapter") == [("base", None), ("whole", "base"), ("adapter", "base")]
    Path("base/model.safetensors").write_bytes(b"after")
    assert find_bases("whole") == [("whole", None)]
    assert "other weights are in its place now; BASE_MODEL names one" in capsys.readouterr().out
    assert len(find_variants("whole", base="base")) == 2
    shutil.rmtree("base")
    assert find_bases("whole") == [("whole", None)]
    with pytest.raises(InputError, match=r"^'adapter' is an adapter for weights that are not in 'base' now"):
        find_variants("adapter")


def test_each_reads_and_writes_as_in_its_training(capsys: pytest.CaptureFixture) -> None:
    plain, own = PROMPTS["plain"], PROMPTS["word_limit"]
    make_folder("a", prompt_template=own, keep="a-z", max_new_tokens=50, max_length=300, max_summary_tokens=99)
    make_folder("b")
    base, first, second = find_variants("a", "b")
    assert capsys.readouterr().out.startswith("b: another PROMPT, KEEP, MAX_NEW_TOKENS or LOAD_IN_4BIT")
    assert base.settings.prompt == first.settings.prompt == own
    assert (base.keep, base.max_new_tokens, base.settings.max_length) == ("a-z", 50, 300) and base.record == {}
    assert (second.keep, second.max_new_tokens) == ("a-zA-Z0-9", 256)
    assert all(variant.settings.prompt == "plain" for variant in find_variants("a", "b", prompt="plain"))
    make_folder("next", "a", prompt_template=plain, frame=["<user>### Review:\n", "\n\n", "<end>"])
    base, _ = find_variants("next")
    assert (base.keep, base.settings.prompt) == ("a-z", own)  # of its own training
    base, model = find_variants("next", base="hub/other")  # perhaps with another chat template
    assert (base.settings.prompt, base.settings.frame, model.settings.frame.end) == (plain, None, "<end>")


def test_texts_may_be_as_long_as_the_model_was_saved_with() -> None:
    make_folder("a", max_summary_tokens=300, max_new_tokens=40)
    make_folder("b", max_summary_tokens=100)  # no more than there is room for
    for name, asked, tokens in (("a", None, 40), ("a", 300, 300), ("b", None, 100)):
        assert [variant.max_new_tokens for variant in find_variants(name, tokens=asked)] == [tokens] * 2
    with pytest.raises(InputError, match=r"MAX_NEW_TOKENS .* must be at most .*, 300; got 301"):
        find_variants("a", tokens=301)


def test_a_group_is_every_setting_but_the_seed() -> None:
    """Models of one name in two folders, trained on other texts, are no seeds of each other; neither is a copy."""
    for folder, texts in (("one", "a"), ("two", "b")):
        for seed in (1, 2):
            make_folder(f"{folder}/m{seed}", group="m", settings={"texts": texts, "seed": seed})
    make_folder("three/other", group="other", settings={"texts": "a", "learning_rate": 1e-4})
    assert group_seeds(find_fine_tuned("one/*", "two/*", "three/*")) == {
        "m (2 seeds)": ["one/m1", "one/m2"],
        "two/m1, two/m2 (2 seeds)": ["two/m1", "two/m2"],
        "other": ["other"],
    }
    shutil.copytree("one/m1", "one/m1 again")
    assert group_seeds(find_fine_tuned("one/m1", "one/m1 again")) == {"m1": ["m1"], "m1 again": ["m1 again"]}


def test_weights_of_an_earlier_step_have_it_in_their_name() -> None:
    """A checkpoint has the record of its run, with its own step; the best weights may be those of an earlier step."""
    results = {"epochs": 2.0, "steps": 48, "saved_step": 48, "saved_epoch": 2.0, "eval_loss": 3.0}
    make_folder("models/m", results=results, keep="a-z", settings={"save": "last"})
    make_folder("models/best", results=results | {"saved_step": 6}, settings={"save": "best"})
    Path("models/m/checkpoint-6").mkdir()
    Path("models/m/checkpoint-6/config.json").write_text("{}")
    models = find_fine_tuned("models/m", "models/m/checkpoint-6", "models/best")
    assert [model.name for model in models] == ["m", "m/checkpoint-6 (step 6 of 48)", "best (step 6 of 48)"]
    own = models[1].record["results"]
    assert (models[1].keep, own["saved_step"], own["saved_epoch"], own["eval_loss"]) == ("a-z", 6, 0.25, None)
    assert len(group_seeds(models)) == 3


def test_data_cleaned_to_less_than_a_model_was_trained_on_are_refused() -> None:
    make_folder("a", keep="a-zA-Z0-9")
    make_folder("b", keep="a-zA-Z0-9.,")
    models = find_fine_tuned("a", "b")
    check_cleaning(models, "data", "a-zA-Z0-9.,;")
    check_cleaning(models[:1], "data", "a-zA-Z0-9")
    with pytest.raises(InputError, match=r"^'data' is cleaned to 'a-zA-Z0-9', but b was trained on texts with .*KEEP"):
        check_cleaning(models, "data", "a-zA-Z0-9")


def test_a_checkpoint_of_a_run_that_has_not_finished_is_refused() -> None:
    """How the model reads is recorded at the end; the record of a finished run that is begun again is of that one."""
    make_folder("run")
    Path("run/checkpoint-6").mkdir()
    Path("run/checkpoint-6/config.json").write_text("{}")
    Path("run/run.json").write_text(json.dumps({"settings": {}, "is_finished": False}))
    with pytest.raises(InputError, match=r"'run/checkpoint-6' is of a run that has not finished"):
        find_variants("run/checkpoint-6")
