"""Write meta-reviews with fine-tuned models and their bases, side by side and scored: the third of three scripts.

    python evaluation.py                            # the newest model in models/, on the cases in eval_examples.xlsx
    python evaluation.py --models "models/*"        # all of them; or folders and Hub ids, one after the other
    python evaluation.py --num_examples 100         # random rows of the processed test split, into eval_test.xlsx
    python evaluation.py --blind                    # also a copy that hides who wrote what; --unblind takes it back
    HF_TOKEN=... python evaluation.py --push_to_hub                     # also adds the scores to the cards on the Hub
    python evaluation.py --reviews a.txt b.txt c.txt                    # the meta-review of your own reviews, printed
    python evaluation.py --forum "https://openreview.net/forum?id=ID"   # that of a paper on OpenReview

A test case is a row with a `review` (a line --- or <REVBREAK> between several of one paper) and perhaps a `reference`,
a `decision`, `ratings`, and what else a prompt reads. Cases that a model has learned in training do not count.
Results go to eval_examples_results.xlsx, right of your own columns; the .jsonl file beside it keeps each text written.
"""

from dataclasses import dataclass

from metareview.common.cli import InputError, check_encoding, check_file, run
from metareview.common.flags import PublishingFlags, flag, start
from metareview.data.prompts import find_template, read_line_breaks
from metareview.sources.forms import read_id

# The models
MODELS = None  # fine-tuned models: folders, Hub ids or patterns such as "models/*"; None: the newest in models/
BASE_MODEL = None  # what they are compared with; None: the base that each of them records

# The test cases
TEST_CASES = "eval_examples.xlsx"  # workbook or CSV with a column `review` and, if there are references, `reference`
ENCODING = "utf-8"  # of test cases in a CSV file, and of --reviews
OUTPUT = None  # workbook for the results; None: eval_examples_results.xlsx, or eval_test.xlsx with NUM_EXAMPLES
NUM_EXAMPLES = None  # use this many random rows of the processed data instead of the test cases
SPLIT = "test"  # the split that they are taken from
PROCESSED_DIR = "processed_meta_review"  # the data set that they are taken from: a folder or a Hub id
SAMPLE_SEED = 42  # which rows are used and, with TEMPERATURE, which tokens

# The texts
MAX_NEW_TOKENS = None  # longest meta-review in tokens; None: what each model was saved with
NO_REPEAT_NGRAM = 4  # repeated n-grams of this many tokens are blocked; 0: none are
REPETITION_PENALTY = 1.0  # above 1: tokens that a text already has become less likely
TEMPERATURE = 0.0  # sampling temperature; 0: no sampling, always the most likely token
NUM_BEAMS = 1  # beam search; memory grows in proportion; 1: greedy decoding
BATCH_SIZE = 32  # meta-reviews at a time, fewer if memory is small; changes speed, not the texts in fp32

# The scores
BERTSCORE_MODEL = None  # encoder for BERTScore, a Hub id or folder such as "roberta-large"; None: no such score


@dataclass
class EvaluationFlags(PublishingFlags):
    """Every constant as a flag, and what else can be done with a model."""

    models: list[str] | None = flag(MODELS, "model_name_or_path", "model")
    base_model: str | None = flag(BASE_MODEL)
    test_cases: str = flag(TEST_CASES)
    encoding: str = flag(ENCODING)
    output: str | None = flag(OUTPUT)
    num_examples: int | None = flag(NUM_EXAMPLES, least=1)
    split: str = flag(SPLIT)
    processed_dir: str = flag(PROCESSED_DIR, "dataset", "dataset_name")
    sample_seed: int = flag(SAMPLE_SEED, "seed")
    max_new_tokens: int | None = flag(MAX_NEW_TOKENS, least=1)
    no_repeat_ngram: int = flag(NO_REPEAT_NGRAM, least=0)
    repetition_penalty: float = flag(REPETITION_PENALTY, least=1)
    temperature: float = flag(TEMPERATURE, least=0)
    num_beams: int = flag(NUM_BEAMS, least=1)
    batch_size: int = flag(BATCH_SIZE, least=1)
    bertscore_model: str | None = flag(BERTSCORE_MODEL)
    prompt: str | None = flag(
        None, help="one in metareview/data/prompts.py; default: as in training", topic="The texts"
    )
    blind: bool = flag(False, help="also write a copy that hides who wrote what", topic="Judging")
    unblind: bool = flag(False, help="write no texts; merge the judgments of that copy", topic="Judging")
    reviews: list[str] | None = flag(None, help="files with a review each or --- between; -: stdin", topic="One paper")
    forum: str | None = flag(None, help="a paper on OpenReview: its address or id", topic="One paper")
    save: bool = flag(False, help="add the case to the workbook TEST_CASES, and keep the draft", topic="One paper")
    hub_model_id: str | None = flag(None, help="default: the repository the model was pushed to", topic="Publishing")

    def __post_init__(self) -> None:
        if self.temperature and self.num_beams > 1:
            raise InputError("TEMPERATURE samples tokens and NUM_BEAMS searches the likeliest text: set one of them")
        check_encoding(self.encoding)
        for name in self.reviews or ():
            check_file(name, "--reviews")
        if not (self.num_examples or self.reviews or self.forum):
            check_file(self.test_cases, "TEST_CASES (--test_cases)")
        self.prompt = read_line_breaks(self.prompt)
        if self.prompt is not None:
            find_template(self.prompt)
        if self.forum is not None:
            self.forum = read_id(self.forum)
        names = ("reviews", "forum", "output", "num_examples", "blind", "unblind", "push_to_hub")
        wanted = [name for name in names if getattr(self, name)]
        if (self.reviews or self.forum) and len(wanted) > 1:
            raise InputError(f"--{wanted[0]} prints the meta-review of one paper and does not go with --{wanted[1]}")
        if self.save and not (self.reviews or self.forum):
            raise InputError("--save adds a case that --reviews or --forum gives")


if __name__ == "__main__":  # help and wrong values are answered here, before PyTorch and transformers load
    FLAGS = start(EvaluationFlags, __file__)

from collections.abc import Container, Iterable
from pathlib import Path
from shlex import quote
from typing import Any

from metareview.common.files import lock
from metareview.common.hub import public_name
from metareview.data.cleaning import DEFAULT_KEEP, clean_reviews
from metareview.data.details import clean_details
from metareview.data.learned import find_learned, load_learned
from metareview.data.placeholders import find_columns
from metareview.data.splits import read_record
from metareview.generation.decoding import Decoding
from metareview.generation.variants import Variant, check_cleaning, find_variants, group_seeds, share
from metareview.generation.writing import print_remarks, write_summaries
from metareview.scoring.bertscore import load_encoder
from metareview.scoring.comparison import (
    average_scores,
    average_seeds,
    compare_models,
    compare_with_base,
    find_unread,
    find_weakest,
)
from metareview.scoring.metrics import Results, score_systems
from metareview.scoring.score_card import choose_cards, push_scores, save_scores
from metareview.scoring.score_table import format_scores
from metareview.sources.forms import Paper
from metareview.sources.openreview import fetch_forum
from metareview.workbook.blind import blind_path, check_blind, make_blind, unblind
from metareview.workbook.cases import Case, draw_examples, identify_cases, name_log, name_target, open_cases
from metareview.workbook.drafting import print_drafts, read_review_files
from metareview.workbook.judgments import describe_judgments
from metareview.workbook.results import open_book, write_book
from metareview.workbook.saving import (
    check_target,
    create_log,
    modified,
    open_workbook,
    save_unless_changed,
    save_workbook,
)
from metareview.workbook.summary import Comparison


def main(flags: EvaluationFlags) -> None:
    split = flags.split if flags.num_examples else None
    target = name_target(flags.test_cases, flags.output, split)
    if flags.unblind:
        unblind(target)
        return

    # 1. Choose the models; each reads and writes as in its training. For one paper, print drafts.
    decoding = Decoding(
        flags.no_repeat_ngram, flags.repetition_penalty, flags.num_beams, flags.temperature, flags.sample_seed
    )
    variants = find_variants(flags.models, flags.base_model, flags.prompt, flags.max_new_tokens, decoding)
    models = [variant for variant in variants if variant.fine_tuned]
    keep = share([model.keep for model in models], DEFAULT_KEEP)  # of what is compared, which is cleaned alike
    if flags.bertscore_model:
        load_encoder(flags.bertscore_model)  # a wrong name shows before anything is written
    if flags.reviews or flags.forum:
        draft(flags, models, name_log(target))
        return
    cards = choose_cards(models, flags.hub_model_id) if flags.push_to_hub else {}

    # 2. Read the test cases, and what a person has made of the last results.
    check_target(target)
    _lock, seen = lock(target), modified(target)  # the lock is kept until this process ends
    if split:
        check_cleaning(models, flags.processed_dir, read_record(flags.processed_dir).get("keep", DEFAULT_KEEP))
        source = draw_examples(flags.processed_dir, split, flags.num_examples, flags.sample_seed)
    else:
        source = open_cases(flags.test_cases, flags.encoding)
    workbook = open_workbook(str(target)) if target.exists() else source.workbook
    columns = find_columns("".join(variant.settings.prompt_template for variant in variants))
    book = open_book(source, workbook, str(target), [variant.keep for variant in variants], columns)
    say_lacking(columns, book.cases)
    reviews = target if split or target.exists() else Path(flags.test_cases)  # who can read it can read the results
    if flags.blind:
        check_blind(target)

    # 3. Let each model write, unless its texts are there; score what they wrote, all alike; compare.
    create_log(name_log(target), reviews)
    results = write_and_score(variants, book.cases, keep, flags.batch_size, name_log(target), flags.bertscore_model)
    learned = mark_learned(results, variants, book.cases)
    book.test |= describe_test(book.cases, learned, keep, flags.bertscore_model)
    comparison = compare(results, models, book.cases, learned)

    # 4. Write the workbook and print what came out.
    counts = write_book(book, variants, results, comparison)
    target = save_unless_changed(book.sheet.parent, target, seen, reviews)
    lines = [*comparison.sentences, *book.remarks, *describe_judgments(counts)]
    print(format_scores(comparison.averages), *lines, sep="\n")
    print(f"The texts side by side, to read and to rate: {target}")
    if flags.blind:
        save_workbook(make_blind(book, keep), blind_path(target), target)
        print(f"To judge without knowing who wrote what: {blind_path(target)}")
        print(f"Afterwards the same command with --unblind --output {quote(str(target))}")

    # 5. Add the scores to the models' cards; on the Hub, if asked.
    for model in models:
        scores = book.test, comparison.averages, comparison.verdicts[model.name]
        save_scores(model, *scores)
        if model.name in cards:
            push_scores(cards[model.name], model, *scores, target)


def draft(flags: EvaluationFlags, models: list[Variant], log: Path) -> None:
    """Print drafts for one paper, from OpenReview or from files."""
    paper = fetch_forum(flags.forum) if flags.forum else Paper(read_review_files(flags.reviews, flags.encoding))
    print_drafts(paper, models, flags.test_cases if flags.save else None, log, flags.bertscore_model)


def write_and_score(
    variants: list[Variant], cases: list[Case], keep: str, batch_size: int, log: Path, encoder: str | None
) -> Results:
    """Let each model write for the cases, unless its texts are in the log, and score all texts, cleaned by `keep`."""
    outputs, completions = {}, {}
    for variant in variants:
        rows = [
            {"review": clean_reviews(case.review, variant.keep), **clean_details(case.details, variant.keep)}
            for case in cases
        ]
        outputs[variant.name] = write_summaries(variant, rows, batch_size, log)
        completions[variant.name] = variant.settings.completion
    print_remarks(variants)
    reviews = [clean_reviews(case.review, keep) for case in cases]
    references = [case.reference for case in cases]
    decisions, ratings = ([case.details[name] for case in cases] for name in ("decision", "ratings"))
    return score_systems(outputs, reviews, references, keep, decisions, ratings, completions, encoder)


def say_lacking(columns: Iterable[str], cases: list[Case]) -> None:
    """Print the columns that prompts name and no case has: the models read less than in their training."""
    if lacking := [name for name in columns if not any(case.read(name) for case in cases)]:
        print(f"No case has {', '.join(lacking)}, which a prompt names: the models read the reviews without.")


def describe_test(cases: list[Case], learned: Container[int], keep: str, encoder: str | None) -> dict[str, Any]:
    """The number and the hash of the cases that count, which are not `learned`, and the encoder of BERTScore."""
    counted = [case for index, case in enumerate(cases) if index not in learned]
    return {"cases": len(counted), "test": identify_cases(counted, keep), "encoder": encoder and public_name(encoder)}


def mark_learned(results: Results, variants: list[Variant], cases: list[Case]) -> dict[int, list[str]]:
    """Mark in the results which cases a model has learned in training; the models that have, by the case."""
    references = [case.reference for case in cases]
    learned: dict[int, list[str]] = {}
    for variant in variants:  # a base may have been fine-tuned, too
        reviews = [clean_reviews(case.review, variant.keep) for case in cases]
        for case in find_learned(load_learned(variant.model), reviews, references):
            results[variant.name][case]["learned"] = True
            learned.setdefault(case, []).append(variant.name)
    return learned


def compare(results: Results, models: list[Variant], cases: list[Case], learned: dict[int, list[str]]) -> Comparison:
    """Which fine-tuned model is better than its base, than lead, than the others; where the best is weakest.

    Cases that one of the models has `learned` are left out for all systems: what is compared has the same cases.
    """
    kept = [index for index in range(len(cases)) if index not in learned]
    results = {system: [scores[index] for index in kept] for system, scores in results.items()}
    averages, groups = average_scores(results), group_seeds(models)
    verdicts = {model.name: compare_with_base(results, model.name, model.base) for model in models}
    sentences = [*verdicts.values(), *compare_models(results, groups)]
    if learned:
        names = ", ".join(dict.fromkeys(name for each in learned.values() for name in each))
        rows = ", ".join(str(cases[index].row) for index in sorted(learned))
        subject = f"Row {rows} was" if len(learned) == 1 else f"Rows {rows} were"
        told = f"{subject} in the training data of {names} and left out of all scores"
        sentences.append(f"{told}." if kept else f"{told}, and nothing is left to compare: leave {names} out.")
    rows = [cases[index].row for index in kept]
    sentences += find_unread(results, [cases[index].reference for index in kept], rows)
    sentences += find_weakest(results, averages, list(verdicts), rows)
    return Comparison(averages, average_seeds(averages, groups), verdicts, sentences)


if __name__ == "__main__":
    run(main, FLAGS)
