"""Whole scripts: ratings, title and decision in what a model reads and writes, from a table to the workbook."""

import json
from pathlib import Path

import pytest
from conftest import EVALUATE, PROCESS, TUNE, make_rows, run_script, write_csv
from datasets import load_from_disk
from openpyxl import load_workbook
from transformers import AutoTokenizer

PROMPT = "{abstract}\nRatings: {ratings}\n{review}\nSo: "
COMPLETION = "Decision: {decision}\n{summary}"


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    rows = [
        row
        | {
            "Rating": f"{index % 5 + 3}; 6.5",
            "Abstract": "Sums.",
            "decision": "Accept (Poster)" if index % 5 > 2 else "",
        }
        for index, row in enumerate(make_rows(60))
    ]
    flags = ["--dataset", write_csv(folder / "rows.csv", rows), "--model", base, "--columns", "Abstract"]
    flags += ["--prompt", PROMPT, "--completion", COMPLETION]
    for script, *others in (
        (PROCESS, *flags),
        (TUNE, "--learning_rate", "5e-3", "--output_dir", "m", "--max_new_tokens", 12),
    ):
        result = run_script(script, *others, cwd=folder)
        assert result.returncode == 0, result.stderr
    return folder


def test_a_model_reads_and_learns_what_its_templates_name(folder: Path) -> None:
    record = json.loads((folder / "m" / "training_record.json").read_text())
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
    flags = ["--models", "m", "--test_cases", write_csv(folder / "cases.csv", cases)]
    result = run_script(EVALUATE, *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    header, *rows = load_workbook(folder / "cases_results.xlsx").active.iter_rows(values_only=True)
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["Abstract"] for row in rows] == ["On knots.", None] and rows[0]["ratings"] == "6/10, 8/10"
    outputs = [json.loads(line) for line in (folder / "cases_results_outputs.jsonl").read_text().splitlines()]
    assert len(outputs) == 4
    drawn = run_script(EVALUATE, "--models", "m", "--num_examples", 2, cwd=folder)
    assert drawn.returncode == 0 and "right verdict" in drawn.stdout


def test_a_case_that_a_model_has_learned_is_marked_and_left_out(folder: Path) -> None:
    texts = load_from_disk(str(folder / "processed_meta_review"))
    cases = [{"review": row["review"].replace("\n\n", "\n---\n").upper(), "reference": row["summary"]}
             for row in (texts["train"][0], texts["test"][0], texts["test"][1])]  # fmt: skip
    write_csv(folder / "learned.csv", cases)
    result = run_script(EVALUATE, "--models", "m", "--test_cases", "learned.csv", cwd=folder)
    assert "The rows 2 were in the training data of m: they are left out of all scores." in result.stdout
    workbook = load_workbook(folder / "learned_results.xlsx")
    header, *rows = workbook.active.iter_rows(values_only=True)
    marks = [row[header.index("m learned this in training")] for row in rows]
    assert marks == ["yes", None, None]
    header, *rows = workbook["runs"].iter_rows(values_only=True)
    assert {row[header.index("cases")] for row in rows} == {2}
    write_csv(folder / "learned.csv", cases[:1])
    result = run_script(EVALUATE, "--models", "m", "--test_cases", "learned.csv", "--output", "all.xlsx", cwd=folder)
    assert result.returncode == 0 and "nothing is left to compare: leave m out." in result.stdout


def test_a_column_that_is_not_there_is_named(folder: Path, refused) -> None:
    told = refused(PROCESS, "--dataset", folder / "rows.csv", "--model", folder / "m", "--prompt", "{venue}: {review}")
    assert "PROMPT or COMPLETION names venue, but the columns are Rating, Abstract, decision" in told
