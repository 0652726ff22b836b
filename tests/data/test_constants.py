"""Constants of the first script that were edited after the data were made."""

from pathlib import Path

import pytest

import processing_meta_review as processing
from metareview.data import constants

FOLDERS = {"PROCESSED_DIR": processing.PROCESSED_DIR, "TOKENIZED_DIR": processing.TOKENIZED_DIR}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the script, to be edited."""
    copy = tmp_path / constants.SCRIPT.name
    copy.write_bytes(constants.SCRIPT.read_bytes())
    monkeypatch.setattr(constants, "SCRIPT", copy)
    return copy


def edit(script: Path, name: str, value: str) -> None:
    lines = script.read_text().splitlines()
    [row] = [row for row, line in enumerate(lines) if line.startswith(f"{name} = ")]
    lines[row] = f"{name} = {value}"
    script.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("edits", "names"),
    [
        ({}, []),
        ({"PROMPT": "'plain'", "SPLIT_SEED": "0o52"}, []),  # the same values
        ({"PROMPT": "'instruction'", "MAX_LENGTH": "512"}, ["PROMPT", "MAX_LENGTH"]),
        ({"KEEP": "'a-z'"}, []),  # which the flag already said
        ({"KEEP": "'A-Z'"}, ["KEEP"]),
        ({"KEEP": "'A-Z'", "PROCESSED_DIR": "'other'"}, []),  # it would write other data
        ({"KEEP": "'A-Z"}, []),  # being edited
    ],
)
def test_what_was_edited_since_is_named(edits: dict[str, str], names: list[str], script: Path) -> None:
    recorded = constants.record_constants(processing.ProcessingFlags(keep="a-z"))
    for name, value in edits.items():
        edit(script, name, value)
    assert constants.find_edited(recorded, FOLDERS) == names


def test_without_the_script_or_a_record_nothing_is_named(script: Path) -> None:
    recorded = constants.record_constants(processing.ProcessingFlags())
    edit(script, "PROMPT", "'instruction'")
    assert constants.find_edited({}, FOLDERS) == []
    script.unlink()
    assert constants.find_edited(recorded, FOLDERS) == [] and constants.record_constants(processing) == {}
