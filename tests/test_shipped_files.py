"""What the project ships: the test cases, the demo's data and base model, the documents."""

import importlib.util
import re
from pathlib import Path

from conftest import ROOT
from workbooks import read_rows

from metareview.data.prompts import PROMPTS

DEMO = ROOT / "assets" / "demo"


def test_there_are_twenty_cases_of_two_to_four_reviews() -> None:
    cases = read_rows(ROOT / "eval_examples.xlsx")
    assert len(cases) == 20 and len({case["field"] for case in cases}) == 20
    lengths = [[len(review.split()) for review in case["review"].split("<REVBREAK>")] for case in cases]
    assert {len(reviews) for reviews in lengths} == {2, 3, 4} and all(case["reference"] for case in cases)
    assert max(map(sum, lengths)) > 2_048  # one has more words than the context has tokens
    assert min(map(max, lengths)) <= 20  # one is very short


def test_the_demo_data_are_what_their_script_makes_and_its_model_is_small(tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("build", DEMO / "build.py")
    build = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(build)
    build.write_data(tmp_path)
    for file in (DEMO / "reviews").iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
    documents = build.pretraining_documents(0)
    assert not any(PROMPTS["plain"][:11] in next(documents) for _ in range(50))  # the base has never seen the prompt

    assert sum(file.stat().st_size for file in (DEMO / "tiny").iterdir()) < 5_000_000


def test_links_and_pictures_of_the_documents_exist() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)
