"""Constants of the first script that were edited after the data were made."""

from pathlib import Path

import pytest

import processing_meta_review as processing
from metareview.data import constants

FOLDERS = {"PROCESSED_DIR": processing.PROCESSED_DIR, "TOKENIZED_DIR": processing.TOKENIZED_DIR}


@pytest.mark.parametrize(
    ("edits", "names"),
    [
        ({"PROMPT": "'plain'", "SPLIT_SEED": "0o52"}, []),  # the same values
        ({"PROMPT": "'instruction'", "MAX_LENGTH": "512"}, ["PROMPT", "MAX_LENGTH"]),
        ({"KEEP": "'a-z'"}, []),  # which the flag already said
        ({"KEEP": "'A-Z'", "PROCESSED_DIR": "'other'"}, []),  # it would write other data
        ({"KEEP": "'A-Z"}, []),  # being edited
    ],
)
def test_what_was_edited_since_is_named(edits: dict[str, str], names: list[str], tmp_path: Path, monkeypatch) -> None:
    recorded, script = constants.record_constants(processing.ProcessingFlags(keep="a-z")), tmp_path / "edited.py"
    edited = [f"\n{name} = {value}" for name, value in edits.items()]  # the last assignment counts
    script.write_text(constants.SCRIPT.read_text() + "".join(edited))
    monkeypatch.setattr(constants, "SCRIPT", script)
    assert constants.find_edited(recorded, FOLDERS) == names and constants.find_edited({}, FOLDERS) == []
    script.unlink()
    assert constants.find_edited(recorded, FOLDERS) == [] and constants.record_constants(processing) == {}
