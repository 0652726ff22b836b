"""Whole scripts: ratings, title and decision in what a model reads and writes, from a table to the workbook."""

from pathlib import Path

import pytest
from conftest import EVALUATE, PROCESS, TUNE, make_rows, read_record, run_to_end, write_csv
from datasets import load_from_disk
from transformers import AutoTokenizer
from workbooks import read_rows

PROMPT = "{abstract}\nRatings: {ratings}\n{review}\nSo: "
COMPLETION = "Decision: {decision}\n{summary}"


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    (folder / "rows").mkdir()
    (folder / "rows" / "notes.txt").touch()
    rows = make_rows(60)
    for index, row in enumerate(rows):
        decision = "Accept (Poster)" if index % 5 > 2 else ""
        row |= {"Rating": f"{index % 5 + 3}; 6.5", "Abstract": "Sums.", "decision": decision}
    write_csv(folder / "rows" / "rows.csv", [*rows, rows[0] | {"Input": "One more review."}])
    flags = ["--dataset", "rows", "--model", base, "--columns", "Abstract"]
    printed = run_to_end(PROCESS, *flags, "--prompt", PROMPT, "--completion", COMPLETION, cwd=folder)
    assert "Not read: notes.txt." in printed and "1 meta-review is in several rows" in printed
    run_to_end(TUNE, "--learning_rate", "5e-3", "--output_dir", "m", "--max_new_tokens", 12, cwd=folder)
    return folder


def test_a_model_reads_and_learns_what_its_templates_name(folder: Path) -> None:
    record = read_record(folder / "m")
    assert record["completion"] == COMPLETION and record["max_new_tokens"] == 12
    assert record["asked_max_summary_tokens"] is None and 12 < record["max_summary_tokens"] < 100
    loaded = AutoTokenizer.from_pretrained(folder / "m")
    message = {"role": "user", "content": "fine work", "ratings": "6, 8", "abstract": ""}
    prompt = loaded.apply_chat_template([message], tokenize=False)
    assert prompt == "Ratings: 6, 8\nfine work\nSo: "


def test_test_cases_may_have_them_and_the_verdict_is_what_stands_in_its_place(folder: Path) -> None:
    cases = [
        {"review": "good", "reference": "fine", "Abstract": "On knots.", "ratings": "6/10, 8/10", "decision": "Oral"},
        {"review": "bad", "reference": "poor", "Abstract": "", "ratings": "", "decision": "Reject"},
    ]
    run_to_end(EVALUATE, "--models", "m", "--test_cases", write_csv(folder / "cases.csv", cases), cwd=folder)
    rows = read_rows(folder / "cases_results.xlsx", "examples")
    assert [row["Abstract"] for row in rows] == ["On knots.", None] and rows[0]["ratings"] == "6/10, 8/10"
    assert "right verdict" in run_to_end(EVALUATE, "--models", "m", "--num_examples", 2, cwd=folder)


def test_a_case_that_a_model_has_learned_is_marked_and_left_out(folder: Path) -> None:
    texts = load_from_disk(str(folder / "processed_meta_review"))
    cases = [{"review": row["review"].replace("\n\n", "\n---\n").upper(), "reference": row["summary"]}
             for row in (texts["train"][0], texts["test"][0], texts["test"][1])]  # fmt: skip
    flags = ["--models", "m", "--test_cases", write_csv(folder / "learned.csv", cases)]
    printed = run_to_end(EVALUATE, *flags, cwd=folder)
    assert "Row 2 was in the training data of m and left out of all scores." in printed
    assert "No case has abstract, ratings, which a prompt names: the models read the reviews without." in printed
    marks = [row["m learned this in training"] for row in read_rows(folder / "learned_results.xlsx", "examples")]
    assert marks == ["yes", None, None]
    assert {row["cases"] for row in read_rows(folder / "learned_results.xlsx", "runs")} == {2}
    write_csv(folder / "learned.csv", cases[:1])
    printed = run_to_end(EVALUATE, *flags, "--output", "all.xlsx", cwd=folder)
    assert "nothing is left to compare: leave m out." in printed
