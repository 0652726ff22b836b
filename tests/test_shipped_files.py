"""What the project ships: the test cases, the demo's data and base model."""

import importlib.util
import re
from pathlib import Path

import pytest
from conftest import ROOT
from openpyxl import load_workbook
from safetensors import safe_open

from metareview.data.prompts import PROMPTS

DEMO = ROOT / "assets" / "demo"


@pytest.fixture(scope="module")
def cases() -> list[dict[str, str]]:
    header, *rows = load_workbook(ROOT / "eval_examples.xlsx").active.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_there_are_twenty_cases_of_two_to_four_reviews(cases: list[dict[str, str]]) -> None:
    assert len(cases) == 20 and len({case["field"] for case in cases}) == 20
    lengths = []
    for case in cases:
        reviews = [len(review.split()) for review in case["review"].split("<REVBREAK>")]
        assert 2 <= len(reviews) <= 4, case["case"]
        lengths.append(reviews)
        assert 25 <= len(case["reference"].split()) <= 200, case["case"]
    usual = [reviews for reviews in lengths if all(80 <= words <= 200 for words in reviews)]
    assert len(usual) == 18
    assert max(map(sum, lengths)) > 2_048  # one has more words than the context has tokens
    assert min(map(max, lengths)) <= 20  # one is very short


def test_the_workbook_is_pleasant_to_open() -> None:
    sheet = load_workbook(ROOT / "eval_examples.xlsx").active
    assert sheet.freeze_panes and all(sheet.column_dimensions[letter].width >= 10 for letter in "ABCDE")
    assert len({(cell.font.name, cell.font.size) for row in sheet.iter_rows() for cell in row}) == 1
    assert all(cell.alignment.wrap_text and cell.data_type == "s" for row in sheet.iter_rows(min_row=2) for cell in row)


def test_the_demo_data_are_what_their_script_makes(tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("build", DEMO / "build.py")
    build = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(build)
    build.write_data(tmp_path)
    for file in (DEMO / "data").iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
    documents = build.pretraining_documents(0)
    assert not any(PROMPTS["plain"][:11] in next(documents) for _ in range(50))  # the base has never seen the prompt


def test_the_demo_model_is_small_and_stored_as_pythia_is() -> None:
    assert sum(file.stat().st_size for file in (DEMO / "model").iterdir()) < 5_000_000
    with safe_open(DEMO / "model" / "model.safetensors", "pt") as weights:
        assert {str(weights.get_slice(name).get_dtype()) for name in weights.keys()} == {"F16"}  # noqa: SIM118


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_and_pictures_of_the_documents_exist(document: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", (ROOT / document).read_text()):
        assert ((ROOT / document).parent / target).exists(), target
