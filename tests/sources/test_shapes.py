"""Reviews in the shapes, formats and encodings that people have them in: from the file to the papers."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PROCESS, run_script
from datasets import Dataset, load_from_disk
from openpyxl import Workbook

from metareview.sources.columns import choose_columns, read_papers
from metareview.sources.reading import read_source

Row = dict[str, Any]
PAPERS = [
    {
        "id": f"p{index}",
        "reviews": [f"Naïve, “{index}”; sound.", f"Too\nshort: {index}"],
        "meta": f"Fine – no. {index}.",
    }
    for index in range(30)
]
SINGLE = [{"paper_id": p["id"], "review": text, "meta_review": p["meta"]} for p in PAPERS for text in p["reviews"]]
COLUMNS = [{"r1": p["reviews"][0], "r2": p["reviews"][1], "text": p["meta"], "year": 2024} for p in PAPERS]
RULED = [{"Review Text": "\n---\n".join(p["reviews"]), "Meta-Review": p["meta"]} for p in PAPERS]
WRITTEN = [
    {"reviews": write(p["reviews"]), "summary": p["meta"]}
    for p, write in zip(PAPERS, [repr, json.dumps] * 15, strict=True)
]
FORMS = [
    {
        "reviews": [{"rating": 5, "review": p["reviews"][0]}, {"Review": {"value": p["reviews"][1]}}],
        "summary": p["meta"],
    }
    for p in PAPERS
]


def write(path: Path, rows: list[Row], encoding: str = "utf-8", delimiter: str = ";") -> None:
    """Rows in the format that the name of the file says."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".xlsx":
        workbook = Workbook()
        for row in (list(rows[0]), *(list(row.values()) for row in rows)):
            workbook.active.append(row)
        workbook.save(path)
    elif path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("name", "rows", "encoding", "columns"),
    [
        ("a.csv", RULED, "utf-8-sig", {}),
        ("a.csv", SINGLE, "cp1252", {"paper": "paper_id"}),
        ("a.xlsx", COLUMNS, "utf-8", {"reviews": ["r1", "r2"], "summary": "text"}),
        ("a.csv", WRITTEN, "utf-8", {}),
        ("a.json", FORMS, "utf-8", {}),
        ("a.parquet", SINGLE, "utf-8", {"paper": "paper_id"}),
    ],
)
def test_every_shape_leaves_the_same_papers(
    name: str, rows: list[Row], encoding: str, columns: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path / name, rows, encoding)
    source, unread = read_source(str(tmp_path / name), encoding)
    flags = [columns.get(flag) for flag in ("reviews", "summary", "paper")]
    papers, _ = read_papers(source, choose_columns(source, *flags, "<REVBREAK>"))
    read = [([text.strip() for text in paper["reviews"]], paper["summary"]) for paper in papers["train"]]
    assert read == [(paper["reviews"], paper["meta"]) for paper in PAPERS] and not unread


def test_one_review_in_each_row_is_noticed_and_no_meta_review_leaks(base: Path, tmp_path: Path) -> None:
    """Without --group_column, in files of splits that somebody has divided by row; through the script."""
    (tmp_path / "rows").mkdir()
    for name, part in (("train", SINGLE[:41]), ("validation", SINGLE[41:51]), ("test", SINGLE[51:]), ("more", SINGLE)):
        write(tmp_path / "rows" / f"{name}.csv", part)
    flags = ["--model", base, "--max_summary_tokens", 100, "--dataset", "rows"]
    result = run_script(PROCESS, *flags, cwd=tmp_path)
    splits = load_from_disk(str(tmp_path / "processed_meta_review"))
    summaries = [set(part["summary"]) for part in splits.values()]
    assert [len(part) for part in summaries] == [20, 5, 5] and len(set.union(*summaries)) == 30
    assert result.stdout.splitlines()[2].split("|")[6].strip() == "1"  # of train, in a later split
    assert "28 meta-reviews stand in several rows ('Fine no 26' in 2)." in result.stdout
    assert "--group_column (GROUP_COLUMN) joins them." in result.stdout and "Not read: more.csv." in result.stdout


def test_wrong_sources_are_refused(refused: Callable[..., str], base: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", SINGLE, "cp1252")
    line = refused(PROCESS, "--model", base, "--max_summary_tokens", 100, "--dataset", "a.csv")
    assert "'a.csv' is not a text in UTF-8" in line and "--encoding cp1252" in line
    assert not (tmp_path / "processed_meta_review").exists()
