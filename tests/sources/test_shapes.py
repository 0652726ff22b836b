"""Reviews in every shape, format and encoding that people have them in, through processing_meta_review.py.

All of them say the same, so all must leave the same texts; what one of them adds is asserted beside it.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PROCESS, run_script
from datasets import Dataset, DatasetDict, load_from_disk
from openpyxl import Workbook

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


def by_review(paper: Row) -> list[Row]:
    return [{"paper_id": paper["id"], "review": text, "meta_review": paper["meta"]} for text in paper["reviews"]]


def forms(paper: Row) -> Row:
    """As OpenReview has them, in both versions of its interface; the ratings must not get into the texts."""
    first, second = paper["reviews"]
    return {"reviews": [{"rating": 5, "review": first}, {"Review": {"value": second}}], "metareview": paper["meta"]}


JOINED = [join(paper) for paper in PAPERS]
RULED = [{"Review Text": join(paper, "\n---\n")["Input"], "Meta-Review": paper["meta"]} for paper in PAPERS]
SINGLE = [row for paper in PAPERS for row in by_review(paper)]
COLUMNS = [{"r1": p["reviews"][0], "r2": p["reviews"][1], "text": p["meta"], "year": 2024} for p in PAPERS]


def write_csv(delimiter: str = ",", encoding: str = "utf-8") -> Callable[[Path, list[Row]], None]:
    def write(path: Path, rows: list[Row]) -> None:
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)

    return write


def write_lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_json(path: Path, rows: list[Row]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def write_parquet(path: Path, rows: list[Row]) -> None:
    Dataset.from_list(rows).to_parquet(path)


def write_excel(path: Path, rows: list[Row]) -> None:
    workbook = Workbook()
    for row in (list(rows[0]), *(list(row.values()) for row in rows)):
        workbook.active.append(row)
    workbook.create_sheet("notes").append(["mine"])
    workbook.save(path)


def rate(paper: Row) -> list[Row]:
    return [{"review": text, "rating": 5} for text in paper["reviews"]]


def lists(reviews: Callable[[Row], Any] = lambda paper: paper["reviews"]) -> list[Row]:
    return [{"reviews": reviews(paper), "summary": paper["meta"]} for paper in PAPERS]


GROUPED = ["--group_column", "paper_id"]
SEVERAL = ["--review_column", "r1", "r2", "--summary_column", "text"]
TWO_EACH = "train: 60 rows are of 30 papers, by paper_id."
SHAPES = {  # the file, what writes it, its rows, flags, a line that is printed
    "comma": ("a.csv", write_csv(), JOINED, [], ""),
    "semicolon": ("a.csv", write_csv(";"), RULED, [], ""),
    "tab": ("a.csv", write_csv("\t", "utf-8-sig"), JOINED, [], ""),
    "windows": ("a.csv", write_csv(";", "cp1252"), SINGLE, [*GROUPED, "--encoding", "cp1252"], TWO_EACH),
    "utf-16": ("a.csv", write_csv("\t", "utf-16"), JOINED, ["--encoding", "utf-16"], ""),
    "tsv": ("a.tsv", write_csv("\t"), COLUMNS, SEVERAL, ""),
    "excel": ("a.xlsx", write_excel, SINGLE, GROUPED, "Not read: sheet 'notes' of a.xlsx."),
    "excel, columns": ("a.xlsx", write_excel, COLUMNS, SEVERAL, ""),
    "json": ("a.json", write_json, [forms(paper) for paper in PAPERS], [], ""),
    "json lines": ("a.jsonl", write_lines, lists(), [], ""),
    "parquet": ("a.parquet", write_parquet, lists(), [], ""),
    "parquet, rows": ("a.parquet", write_parquet, SINGLE, GROUPED, TWO_EACH),
    "parquet, forms": ("a.parquet", write_parquet, lists(rate), [], ""),
    "another separator": ("a.jsonl", write_lines, [join(p, "||") for p in PAPERS], ["--review_separator", "||"], ""),
}  # fmt: skip


def process(base: Path, folder: Path, *flags: object) -> tuple[DatasetDict, str]:
    """What the script leaves of a source, and what it prints."""
    keep = ["--keep", "a-zA-Z0-9.,;:", "--model", base, "--max_summary_tokens", 100]
    result = run_script(PROCESS, *keep, *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    return load_from_disk(str(folder / "processed_meta_review")), result.stdout


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_leaves_the_same_papers(name: str, base: Path, tmp_path: Path) -> None:
    file, write, rows, flags, line = SHAPES[name]
    write(tmp_path / file, rows)
    splits, printed = process(base, tmp_path, "--dataset", file, *flags)
    assert {split: len(part) for split, part in splits.items()} == {"train": 26, "validation": 2, "test": 2}
    left = {(row["review"], row["summary"]) for part in splits.values() for row in part}
    assert left == {(f"Naive, {i}; sound.\n\nToo\nshort: {i}", f"Fine  no. {i}.".replace("  ", " ")) for i in range(30)}
    assert line in printed.splitlines() or not line
    assert "reviews per paper" in printed and printed.count("|               2.0 |") == 3, printed


def test_one_review_in_each_row_is_noticed_and_no_meta_review_leaks(base: Path, tmp_path: Path) -> None:
    """Without --group_column: in a single file, and in files of splits that somebody has divided by row."""
    write_csv()(tmp_path / "a.csv", SINGLE)
    splits, printed = process(base, tmp_path, "--dataset", "a.csv")
    summaries = [set(part["summary"]) for part in splits.values()]
    assert [len(part) for part in summaries] == [26, 2, 2] and len(set.union(*summaries)) == 30
    assert "30 meta-reviews stand in several rows ('Fine no. " in printed
    assert "--group_column (GROUP_COLUMN) joins them." in printed
    (tmp_path / "rows").mkdir()
    for name, part in (("train", SINGLE[:41]), ("validation", SINGLE[41:51]), ("test", SINGLE[51:])):
        write_csv()(tmp_path / "rows" / f"{name}.csv", part)
    write_csv()(tmp_path / "rows" / "more.csv", SINGLE)
    splits, printed = process(base, tmp_path, "--dataset", "rows")
    summaries = [set(part["summary"]) for part in splits.values()]
    assert [len(part) for part in summaries] == [20, 5, 5] and len(set.union(*summaries)) == 30
    assert printed.splitlines()[2].split("|")[6].strip() == "1"  # of train, in a later split
    assert "Not read: more.csv." in printed


def test_wrong_sources_are_refused(refused: Callable[..., str], base: Path, tmp_path: Path) -> None:
    def said(*flags: object) -> str:
        return refused(PROCESS, "--model", base, "--max_summary_tokens", 100, *flags)

    write_csv(";", "cp1252")(tmp_path / "a.csv", JOINED)
    assert "'a.csv' is not a text in UTF-8" in (line := said("--dataset", "a.csv")) and "--encoding cp1252" in line
    write_json(tmp_path / "b.json", lists(lambda paper: [{"rating": 5, "text": text} for text in paper["reviews"]]))
    assert "row 1 of train: there is no known field, only rating, text" in said("--dataset", "b.json")
    assert "no column 'paper'" in said("--dataset", "b.json", "--group_column", "paper")
    (tmp_path / "folder").mkdir()
    for name in ("train", "val", "Validation"):
        write_csv()(tmp_path / "folder" / f"{name}.csv", JOINED)
    assert "are both the split 'validation'" in said("--dataset", "folder")
    assert not (tmp_path / "processed_meta_review").exists()
