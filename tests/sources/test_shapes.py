"""Reviews in every shape, format and encoding that people have them in: all leave the same papers."""

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


def join(paper: Row, separator: str = " <REVBREAK> ") -> Row:
    return {"Input": separator.join(paper["reviews"]), "Output": paper["meta"]}


def forms(paper: Row) -> Row:
    """As OpenReview has them, in both versions of its interface; the ratings must not get into the texts."""
    first, second = paper["reviews"]
    return {"reviews": [{"rating": 5, "review": first}, {"Review": {"value": second}}], "metareview": paper["meta"]}


def write_csv(delimiter: str = ",", encoding: str = "utf-8") -> Callable[[Path, list[Row]], None]:
    def write(path: Path, rows: list[Row]) -> None:
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)

    return write


def write_lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, rows: list[Row]) -> None:
    Dataset.from_list(rows).to_parquet(path)


def write_excel(path: Path, rows: list[Row]) -> None:
    workbook = Workbook()
    for row in (list(rows[0]), *(list(row.values()) for row in rows)):
        workbook.active.append(row)
    workbook.save(path)


JOINED = [join(paper) for paper in PAPERS]
RULED = [{"Review Text": join(paper, "\n---\n")["Input"], "Meta-Review": paper["meta"]} for paper in PAPERS]
LISTS = [{"reviews": paper["reviews"], "summary": paper["meta"]} for paper in PAPERS]
RATED = [row | {"reviews": [{"review": text, "rating": 5} for text in row["reviews"]]} for row in LISTS]
WRITTEN = [row | {"reviews": write(row["reviews"])} for row, write in zip(LISTS, [repr, json.dumps] * 15, strict=True)]
SINGLE = [{"paper_id": p["id"], "review": text, "meta_review": p["meta"]} for p in PAPERS for text in p["reviews"]]
COLUMNS = [{"r1": p["reviews"][0], "r2": p["reviews"][1], "text": p["meta"], "year": 2024} for p in PAPERS]
SEVERAL = {"reviews": ["r1", "r2"], "summary": "text"}
GROUPED = {"paper": "paper_id"}
SHAPES: dict[str, tuple[str, Callable[[Path, list[Row]], None], list[Row], dict[str, Any]]] = {
    "comma": ("a.csv", write_csv(), JOINED, {}),
    "semicolon": ("a.csv", write_csv(";"), RULED, {}),
    "tab": ("a.csv", write_csv("\t", "utf-8-sig"), JOINED, {}),
    "windows": ("a.csv", write_csv(";", "cp1252"), SINGLE, GROUPED | {"encoding": "cp1252"}),
    "utf-16": ("a.csv", write_csv("\t", "utf-16"), JOINED, {}),
    "tsv": ("a.tsv", write_csv("\t"), COLUMNS, SEVERAL),
    "written lists": ("a.csv", write_csv(), WRITTEN, {}),
    "excel": ("a.xlsx", write_excel, SINGLE, GROUPED),
    "excel, columns": ("a.xlsx", write_excel, COLUMNS, SEVERAL),
    "json": ("a.json", lambda path, rows: path.write_text(json.dumps(rows)), [forms(paper) for paper in PAPERS], {}),
    "json lines": ("a.jsonl", write_lines, LISTS, {}),
    "parquet": ("a.parquet", write_parquet, LISTS, {}),
    "parquet, rows": ("a.parquet", write_parquet, SINGLE, GROUPED),
    "parquet, forms": ("a.parquet", write_parquet, RATED, {}),
    "another separator": ("a.jsonl", write_lines, [join(paper, "||") for paper in PAPERS], {"separator": "||"}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_leaves_the_same_papers(name: str, tmp_path: Path) -> None:
    file, write, rows, flags = SHAPES[name]
    write(tmp_path / file, rows)
    source, unread = read_source(str(tmp_path / file), flags.get("encoding", "utf-8"))
    columns = [flags.get(flag) for flag in ("reviews", "summary", "paper")]
    papers, _ = read_papers(source, choose_columns(source, *columns, flags.get("separator", "<REVBREAK>")))
    read = [([text.strip() for text in paper["reviews"]], paper["summary"]) for paper in papers["train"]]
    assert read == [(paper["reviews"], paper["meta"]) for paper in PAPERS] and not unread


def test_one_review_in_each_row_is_noticed_and_no_meta_review_leaks(base: Path, tmp_path: Path) -> None:
    """Without --group_column, in files of splits that somebody has divided by row; through the script."""
    (tmp_path / "rows").mkdir()
    for name, part in (("train", SINGLE[:41]), ("validation", SINGLE[41:51]), ("test", SINGLE[51:]), ("more", SINGLE)):
        write_csv()(tmp_path / "rows" / f"{name}.csv", part)
    flags = ["--model", base, "--max_summary_tokens", 100, "--dataset", "rows"]
    result = run_script(PROCESS, *flags, cwd=tmp_path)
    splits = load_from_disk(str(tmp_path / "processed_meta_review"))
    summaries = [set(part["summary"]) for part in splits.values()]
    assert [len(part) for part in summaries] == [20, 5, 5] and len(set.union(*summaries)) == 30
    assert result.stdout.splitlines()[2].split("|")[6].strip() == "1"  # of train, in a later split
    assert "28 meta-reviews stand in several rows ('Fine no 26' in 2)." in result.stdout
    assert "--group_column (GROUP_COLUMN) joins them." in result.stdout and "Not read: more.csv." in result.stdout


def test_wrong_sources_are_refused(refused: Callable[..., str], base: Path, tmp_path: Path) -> None:
    write_csv(";", "cp1252")(tmp_path / "a.csv", JOINED)
    line = refused(PROCESS, "--model", base, "--max_summary_tokens", 100, "--dataset", "a.csv")
    assert "'a.csv' is not a text in UTF-8" in line and "--encoding cp1252" in line
    assert not (tmp_path / "processed_meta_review").exists()
