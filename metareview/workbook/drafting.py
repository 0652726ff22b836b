"""Drafting: the meta-review of one paper, printed for a person to check."""

import sys
from collections import Counter
from pathlib import Path

from metareview.common.cli import InputError, format_count
from metareview.common.hub import public_name
from metareview.data.cleaning import DEFAULT_KEEP, REVIEW_JOINER, clean_reviews, clean_text, join_reviews, split_reviews
from metareview.data.context import fit_prompts, share_budget
from metareview.data.prompts import encode_texts
from metareview.data.tokenization import load_tokenizer
from metareview.generation.outputs import Output
from metareview.generation.variants import Variant, share
from metareview.generation.writing import write_summaries
from metareview.scoring.comparison import average_scores
from metareview.scoring.metrics import score_systems
from metareview.scoring.score_table import format_scores
from metareview.sources.escapes import plain_text
from metareview.sources.forms import Paper, describe_counts, describe_paper
from metareview.sources.pasted import split_pasted
from metareview.sources.table_files import FORMATS, decode_text
from metareview.workbook.adding import add_case


def print_drafts(paper: Paper, models: list[Variant], test_cases: str | None, log: Path) -> None:
    """Print the meta-review that each model writes for a paper, and its scores if there is a human one.

    The paper is also added to the workbook `test_cases`, and the drafts to the `log` of its results, unless
    `test_cases` is None. Raises `InputError` where cleaning leaves nothing of the reviews.
    """
    for model in models:
        if not clean_reviews(paper.reviews, model.keep):
            raise InputError(f"cleaning leaves nothing of the reviews; {model.name} knows only {model.keep}")
    if paper.forum:
        print(describe_paper(paper))
    if test_cases:
        case = {"case": paper.title, "review": join_reviews(paper.reviews), "reference": paper.meta_review}
        print(f"Saved as row {add_case(test_cases, case)} of {test_cases}.")
    log = log if test_cases else None
    outputs = {model.name: [print_draft(model, paper.reviews, log)] for model in models}
    if paper.meta_review:
        print(f"\nWritten by a person:\n\n{paper.meta_review}\n")
        keep = share([model.keep for model in models], DEFAULT_KEEP)
        review, reference = clean_reviews(paper.reviews, keep), clean_text(paper.meta_review, keep)
        print(format_scores(average_scores(score_systems(outputs, [review], [reference], keep, [""]))))


def print_draft(model: Variant, reviews: list[str], log: Path | None) -> Output:
    """Print how much of each review a model reads, and what it writes."""
    review = clean_reviews(reviews, model.keep)
    tokenizer, limit = load_tokenizer(model.settings)
    _, [cut] = fit_prompts([review], tokenizer, limit, model.settings.prompt_template)
    lengths = [len(tokens) for tokens in encode_texts(review.split(REVIEW_JOINER), tokenizer)]
    print(f"Read of each review ({limit:,} tokens in all): {describe_shares(lengths, cut)}")
    [output] = write_summaries(model, [review], 1, log)
    end = "" if output.stopped else f" [cut off after {output.tokens} tokens]"
    print(f"\nDraft by a model ({public_name(model.model)}); check it against the reviews:\n")
    print(f"{output.text}{end}")
    return output


def describe_shares(lengths: list[int], cut: int) -> str:
    """How much of each review is left after `cut` tokens of them are cut; `lengths` are in tokens too."""
    kept = share_budget(lengths, sum(lengths) - cut)
    return ", ".join(f"{part / length:.0%}" for part, length in zip(kept, lengths, strict=True))


def read_review_files(names: list[str], encoding: str = "utf-8") -> list[str]:
    """The reviews in these files, one in each, or several below headings such as Reviewer 2; prints how many.

    Lines of --- or <REVBREAK> also separate those in a single file, or in - for standard input. Raises `InputError` for
    a file that is missing, empty or not plain text.
    """
    reviews, left_out = [], Counter[str]()
    for name in names:
        if Path(name).suffix.lower() in FORMATS:
            advice = "a review each. For a table of test cases: --test_cases (.xlsx, .csv, .tsv)"
            raise InputError(f"--reviews {name!r} is a table, but --reviews takes text files with {advice}")
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
    print(
        f"Read {format_count(len(reviews), 'review')}{'; left out: ' if left_out else ''}{describe_counts(left_out)}."
    )
    return reviews
