"""Which models are compared, what they are called, and how each reads and writes."""

import json
from pathlib import Path

import pytest

from metareview.cli import InputError
from metareview.variants import choose_max_new_tokens, choose_models, find_variants, name_models


def make_folder(path: Path, finished: str = "", **record: object) -> str:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "training_record.json").write_text(json.dumps({"finished": finished} | record))
    return str(path)


def test_texts_may_be_as_long_as_the_model_was_saved_with() -> None:
    record = {"max_summary_tokens": 300, "max_new_tokens": 40}
    assert choose_max_new_tokens(None, record) == 40
    assert choose_max_new_tokens(300, record) == 300
    assert choose_max_new_tokens(None, {}) == 256
    assert choose_max_new_tokens(None, {"max_summary_tokens": 100}) == 100  # no more than there is room for
    with pytest.raises(InputError, match="--max_new_tokens must be at most 300"):
        choose_max_new_tokens(301, record)


def test_the_newest_by_its_record_and_patterns_of_finished_ones(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"First: python fine_tune\.py"):
        choose_models(None)
    make_folder(tmp_path / "models" / "b", "2026-02-01T00:00:00+00:00")
    make_folder(tmp_path / "models" / "a", "2026-01-01T00:00:00+00:00")
    (tmp_path / "models" / "unfinished").mkdir()
    assert choose_models(None) == ["models/b"]
    assert choose_models(["models/*", "models/a"]) == ["models/a", "models/b"]
    assert "Passed over, without a finished model: models/unfinished" in capsys.readouterr().out
    with pytest.raises(InputError, match="holds no finished model"):
        choose_models(["models/unfinished"])
    with pytest.raises(InputError, match="there is no model 'models/c' here"):
        choose_models(["models/c"])


def test_each_base_once_and_before_those_made_from_it(tmp_path: Path) -> None:
    base, other = (make_folder(tmp_path / name) for name in ("base", "other"))
    models = [
        make_folder(tmp_path / "one", base_model=base, keep="a-z", max_new_tokens=10, group="g"),
        make_folder(tmp_path / "two", base_model=other),
        make_folder(tmp_path / "three", base_model=base, keep="a-z", max_new_tokens=10, group="g"),
    ]
    variants = find_variants(models, None, None, None)
    assert [variant.name for variant in variants] == ["base", "other", "one", "two", "three"]
    assert [variant.base for variant in variants] == [None, None, "base", "other", "base"]
    assert [variant.max_new_tokens for variant in variants] == [10, 256, 10, 256, 10]
    assert variants[0].keep == "a-z" and not variants[0].fine_tuned
    assert [variant.group for variant in variants[2:]] == ["g", "two", "g"]


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert name_models(["EleutherAI/pythia-70m", "me/tuned"]) == ["pythia-70m", "tuned"]
    assert name_models(["a/tuned", "b/tuned", "me/lead"]) == ["a/tuned", "b/tuned", "me/lead"]
