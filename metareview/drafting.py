"""Drafting: the meta-review of one paper, printed for a person to check."""

from metareview.cleaning import REVIEW_JOINER, clean_reviews, clean_text
from metareview.cli import InputError, format_table
from metareview.context import fit_prompts, share_budget
from metareview.generation import generate
from metareview.hub import public_name
from metareview.model import choose_device, load_model
from metareview.papers import Paper, describe_paper
from metareview.prompts import encode_texts
from metareview.scoring import average_scores, lead, score, tabulate
from metareview.tokenization import TokenizationArguments, load_tokenizer
from metareview.workbook.cases import add_case


def print_draft(
    paper: Paper,
    settings: TokenizationArguments,
    max_new_tokens: int,
    keep: str,
    separator: str,
    test_cases: str | None,
) -> None:
    """Print the meta-review that a model writes for a paper, and its scores if there is a human one.

    The paper is also added to the workbook `test_cases`, unless that is None. Raises `InputError` where cleaning leaves
    nothing of the reviews.
    """
    name = settings.model_name_or_path
    tokenizer, limit = load_tokenizer(settings)
    texts = f"\n{separator}\n".join(paper.reviews)
    review, reference = clean_reviews(texts, keep, separator), clean_text(paper.meta_review, keep)
    if not review:
        raise InputError(f"cleaning leaves nothing of the reviews; the model knows only the characters {keep}")
    if paper.forum:
        print(describe_paper(paper))
    if test_cases:
        case = {"case": paper.title, "review": texts, "reference": paper.meta_review}
        print(f"Saved as row {add_case(test_cases, case)} of {test_cases}.")

    [prompt], [cut] = fit_prompts([review], tokenizer, limit, settings.prompt_template)
    lengths = [len(tokens) for tokens in encode_texts(review.split(REVIEW_JOINER), tokenizer)]
    print(f"Read of each review ({limit:,} tokens in all): {describe_shares(lengths, cut)}")
    device, dtype = choose_device()
    model = load_model(name, dtype).to(device).eval()
    [(_, output)] = generate(model, tokenizer, [prompt], max_new_tokens, batch_size=1)
    end = "" if output.stopped else f" [cut off after {output.tokens} tokens]"
    print(f"\nDraft by a model ({public_name(name)}); check it against the reviews:\n")
    print(f"{output.text}{end}")
    if reference:
        print(f"\nWritten by a person:\n\n{paper.meta_review}\n")
        written = score(clean_text(output.text, keep), output.stopped, review, reference)
        opening = score(lead(review, len(reference.split())), None, review, reference)
        print(format_table(tabulate(average_scores({"fine_tuned": [written], "lead": [opening]}))))


def describe_shares(lengths: list[int], cut: int) -> str:
    """How much of each review is left after `cut` tokens of them are cut; `lengths` are in tokens too."""
    kept = share_budget(lengths, sum(lengths) - cut)
    return ", ".join(f"{part / length:.0%}" for part, length in zip(kept, lengths, strict=True))
