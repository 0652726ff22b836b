"""Drafting: the meta-review of one paper, printed for a person to check, and kept as a test case if asked."""

import sys
from collections import Counter
from pathlib import Path

from metareview.common.cli import InputError, format_count
from metareview.common.hub import public_name
from metareview.data.cleaning import DEFAULT_KEEP, clean_reviews, clean_text, join_reviews, split_reviews
from metareview.data.details import DETAILS, clean_details
from metareview.generation.variants import Variant, share
from metareview.generation.writing import print_remarks, write_summaries
from metareview.scoring.comparison import average_scores
from metareview.scoring.metrics import score_systems
from metareview.scoring.score_table import format_scores
from metareview.sources.escapes import plain_text
from metareview.sources.forms import Paper, describe_counts, describe_paper
from metareview.sources.pasted import split_pasted
from metareview.sources.table_files import FORMATS, decode_text
from metareview.workbook.cases import find_case_sheet
from metareview.workbook.cells import CELL_LIMIT, new_workbook, read_header
from metareview.workbook.results import add_cases, name_rows
from metareview.workbook.saving import check_target, create_log, open_workbook, save_workbook


def print_drafts(
    paper: Paper, models: list[Variant], test_cases: str | None, log: Path, encoder: str | None = None
) -> None:
    """Print the meta-review that each model writes for a paper, and its scores if there is a human one.

    The paper is also added to the workbook `test_cases`, and the drafts to the `log` of its results, unless
    `test_cases` is None. Raises `InputError` if cleaning leaves nothing of the reviews.
    """
    reviews = {model.name: clean_reviews(paper.reviews, model.keep) for model in models}
    if unable := [model for model in models if not reviews[model.name]]:
        raise InputError(f"cleaning leaves nothing of the reviews; {unable[0].name} knows only {unable[0].keep}")
    if paper.forum:
        print(describe_paper(paper))
    if test_cases:
        texts = {"review": join_reviews(paper.reviews), "reference": paper.meta_review}
        case = {"case": paper.title, **paper.details, "decision": paper.decision, **texts}
        print(f"Saved as row {add_case(test_cases, case)} of {test_cases}.")
        create_log(log, Path(test_cases))
    outputs = {}
    for model in models:
        row = {"review": reviews[model.name], **clean_details(paper.details, model.keep)}
        outputs[model.name] = write_summaries(model, [row], 1, log if test_cases else None)
        [output] = outputs[model.name]
        print_remarks([model])
        print(f"\nDraft by a model ({public_name(model.model)}); check it against the reviews:\n")
        print(output.text + ("" if output.stopped else f" [cut off after {output.tokens} tokens]"))
    if paper.meta_review:
        print(f"\nWritten by a person:\n\n{paper.meta_review}\n")
        keep = share([model.keep for model in models], DEFAULT_KEEP)
        review, reference = clean_reviews(paper.reviews, keep), clean_text(paper.meta_review, keep)
        results = score_systems(outputs, [review], [reference], keep, [""], encoder=encoder)
        print(format_scores(average_scores(results)))


def add_case(path: str, texts: dict[str, str]) -> int:
    """Add a case (texts by column) below everything in a workbook, unless its review is there; returns the row.

    Of the columns only `reference` and DETAILS are added if they are missing. Raises `InputError` for a text too long
    for a cell.
    """
    check_target(Path(path))
    workbook = open_workbook(path)
    sheet = find_case_sheet(workbook, path)
    if long := [name for name, text in texts.items() if len(text) > CELL_LIMIT]:
        limit = f"the {long[0]} is longer than the {CELL_LIMIT:,} characters that a cell holds"
        raise InputError(f"{limit}; nothing was saved. Give the command without --save")
    columns = (*read_header(sheet), "reference", *DETAILS)
    case = {name: text for name, text in texts.items() if text and name in columns}
    _, _, [row] = add_cases(sheet, name_rows(sheet), sheet.max_column + 1, new_workbook([case]).active)
    save_workbook(workbook, Path(path))
    return row


def read_review_files(names: list[str], encoding: str = "utf-8") -> list[str]:
    """The reviews in these files, one in each, or several below headings such as Reviewer 2; prints how many.

    Lines of --- or <REVBREAK> also separate those in a single file, or in - for standard input. Raises `InputError` for
    a file that is missing, empty or not plain text.
    """
    reviews, left_out = [], Counter[str]()
    for name in names:
        if Path(name).suffix.lower() in FORMATS:
            raise InputError(f"--reviews {name!r} is a table, not a text file; test cases are for --test_cases")
        try:
            content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read --reviews {name!r}: {error.strerror}") from error
        text = plain_text(decode_text(content, f"--reviews {name!r}", encoding))
        before = len(reviews)
        for part in split_reviews(text) if len(names) == 1 else [text]:
            found, others = split_pasted(part)
            reviews += found
            left_out += others
        if len(reviews) == before:
            raise InputError(f"there is no review in --reviews {name!r}")
    skipped = f"; left out: {describe_counts(left_out)}" if left_out else ""
    print(f"Read {format_count(len(reviews), 'review')}{skipped}.")
    return reviews
