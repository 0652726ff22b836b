"""Drafting: the meta-review of one paper, printed for a person to check."""

from pathlib import Path

from metareview.cleaning import DEFAULT_KEEP, REVIEW_JOINER, clean_reviews, clean_text, join_reviews
from metareview.cli import InputError
from metareview.context import fit_prompts, share_budget
from metareview.generation import Output, write_summaries
from metareview.hub import public_name
from metareview.papers import Paper, describe_paper
from metareview.prompts import encode_texts
from metareview.score_table import format_scores
from metareview.scoring import average_scores, score_systems
from metareview.tokenization import load_tokenizer
from metareview.variants import Variant, share
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
    [output] = write_summaries(model, [review], model.decoding.candidates, log)
    end = "" if output.stopped else f" [cut off after {output.tokens} tokens]"
    print(f"\nDraft by a model ({public_name(model.model)}); check it against the reviews:\n")
    print(f"{output.text}{end}")
    return output


def describe_shares(lengths: list[int], cut: int) -> str:
    """How much of each review is left after `cut` tokens of them are cut; `lengths` are in tokens too."""
    kept = share_budget(lengths, sum(lengths) - cut)
    return ", ".join(f"{part / length:.0%}" for part, length in zip(kept, lengths, strict=True))
