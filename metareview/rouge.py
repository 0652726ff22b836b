"""ROUGE of a text, where it can read the reference."""

from rouge_score.rouge_scorer import RougeScorer

ROUGE = ("rouge1", "rouge2", "rougeL")


def is_readable(reference: str) -> bool:
    """Whether ROUGE finds words in a reference: the tokenizer of rouge-score drops all letters but a to z.

    At least half of the letters and digits must be such, else a few names and numbers would stand for a whole text.
    """
    letters = [character for character in reference if character.isalnum()]
    return 0 < len(letters) <= 2 * sum(map(str.isascii, letters))


def score_rouge(text: str, reference: str) -> dict[str, float | None]:
    """ROUGE-1/2/L as F1 with stemming (Lin 2004, the rouge-score package); None where the reference is not readable."""
    if not is_readable(reference):
        return dict.fromkeys(ROUGE)
    scores = RougeScorer(ROUGE, use_stemmer=True).score(reference, text)
    return {metric: scores[metric].fmeasure for metric in ROUGE}
