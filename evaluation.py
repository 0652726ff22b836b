"""Write meta-reviews with the base and the fine-tuned model, side by side and scored: the third of three scripts.

    python evaluation.py                            # the test cases in eval_examples.xlsx; results go into it
    python evaluation.py --output results.xlsx      # results go into a copy
    python evaluation.py --num_examples 100         # random rows of the processed test split, into eval_test.xlsx
    python evaluation.py --blind                    # also a copy that does not say which model wrote what, to judge in
    python evaluation.py --unblind                  # the judgements of that copy, under the models' names
    python evaluation.py --model me/pythia-70m_finetuned                # a model on the Hub
    HF_TOKEN=... python evaluation.py --push_to_hub                     # also adds the scores to its card there
    python evaluation.py --reviews a.txt b.txt c.txt                    # the meta-review of your own reviews, printed
    python evaluation.py --forum "https://openreview.net/forum?id=ID"   # that of a paper on OpenReview

A test case is a row with a `review` (several reviews of one paper with a line <REVBREAK> between them) and, if there is
one, a `reference`. Other columns are yours and stay as they are; results go to the right of them. Every text also goes
into a .jsonl file beside the workbook as soon as it is written: an interrupted run takes from there what it has.
"""

from dataclasses import dataclass
from pathlib import Path

from metareview.cleaning import DEFAULT_KEEP, DEFAULT_SEPARATOR, clean_reviews, clean_text
from metareview.cli import InputError, flag, format_table, parse_flags, run
from metareview.drafting import print_draft
from metareview.generation import (
    choose_max_new_tokens,
    choose_settings,
    describe_decoding,
    read_training_record,
    write_summaries,
)
from metareview.hub import HubArguments
from metareview.openreview import fetch_forum
from metareview.papers import Paper, read_id, read_review_files
from metareview.prompts import find_template
from metareview.score_card import choose_card, push_scores
from metareview.scoring import METRICS, average_scores, compare, find_weakest, score_systems, tabulate
from metareview.workbook.cases import (
    choose_target,
    continue_workbook,
    draw_examples,
    find_case_sheet,
    name_source,
    read_cases,
)
from metareview.workbook.judging import check_blind, unblind, write_blind
from metareview.workbook.opening import modified, open_workbook, save_unless_changed
from metareview.workbook.results import place_results, write_results
from metareview.workbook.summary import append_run, describe_results, describe_run, write_summary

# The models
FINE_TUNED_MODEL = "pythia_finetuned"  # folder or Hub id of the fine-tuned model
BASE_MODEL = None  # what it is compared with; None: the base that the fine-tuned model records

# The test cases
TEST_CASES = "eval_examples.xlsx"  # workbook with a column `review` and, if there are references, `reference`
OUTPUT = None  # workbook for the results; None: the test cases' own, or eval_test.xlsx with NUM_EXAMPLES
NUM_EXAMPLES = None  # take so many random rows of the processed data set instead of the workbook's test cases
SPLIT = "test"  # the split that they are taken from
PROCESSED_DIR = "processed_meta_review"  # the data set that they are taken from: a folder or a Hub id
SAMPLE_SEED = 42  # which rows are taken

# The texts
MAX_NEW_TOKENS = None  # longest meta-review in tokens; None: what the model was saved with
BATCH_SIZE = 8  # meta-reviews written at the same time; changes memory and speed, not the texts in fp32


@dataclass
class EvaluationArguments(HubArguments):
    """Every constant as a flag, and what else can be done with a model."""

    model_name_or_path: str = flag(FINE_TUNED_MODEL, "model", "fine_tuned_model")
    base_model: str | None = flag(BASE_MODEL)
    test_cases: str = flag(TEST_CASES)
    output: str | None = flag(OUTPUT)
    num_examples: int | None = flag(NUM_EXAMPLES)
    split: str = flag(SPLIT)
    dataset_name: str = flag(PROCESSED_DIR, "dataset", "processed_dir")
    seed: int = flag(SAMPLE_SEED, "sample_seed")
    max_new_tokens: int | None = flag(MAX_NEW_TOKENS)
    batch_size: int = flag(BATCH_SIZE)
    prompt: str | None = flag(
        None, help="one in metareview/prompts.py; default: that of the training", topic="The texts"
    )
    blind: bool = flag(False, help="also write a copy that hides who wrote what, and its key", topic="Judging")
    unblind: bool = flag(False, help="write no texts; take the judgements from that copy", topic="Judging")
    reviews: list[str] | None = flag(
        None, help="files with a review each, or with --- between several; - is standard input", topic="One paper"
    )
    forum: str | None = flag(None, help="a paper on OpenReview: its address or id", topic="One paper")
    save: bool = flag(False, help="add the case to the workbook TEST_CASES", topic="One paper")
    hub_model_id: str | None = flag(None, help="default: where the model was pushed to", topic="Publishing")

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch_size", "num_examples"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")
        if self.prompt is not None:
            find_template(self.prompt)
        if self.forum is not None:
            self.forum = read_id(self.forum)
        alone = "--reviews and --forum print the meta-review of one paper and do not go with"
        if self.reviews and self.forum:
            raise ValueError(f"{alone} one another")
        for name in ("output", "num_examples", "blind", "unblind", "push_to_hub"):
            if (self.reviews or self.forum) and getattr(self, name):
                raise ValueError(f"{alone} --{name}")
        if self.save and not (self.reviews or self.forum):
            raise ValueError("--save adds a case that --reviews or --forum gives")


def main() -> None:
    arguments: EvaluationArguments = parse_flags(EvaluationArguments, __file__, __doc__)
    fine_tuned = arguments.model_name_or_path

    # 1. Read what the model records of its training. For one paper, print a draft.
    record = read_training_record(fine_tuned, FINE_TUNED_MODEL)
    keep, separator = record.get("keep", DEFAULT_KEEP), record.get("review_separator", DEFAULT_SEPARATOR)
    max_new_tokens = choose_max_new_tokens(arguments.max_new_tokens, record)
    settings = {"fine_tuned": choose_settings(fine_tuned, arguments.prompt, record)}
    if arguments.reviews or arguments.forum:
        paper = fetch_forum(arguments.forum) if arguments.forum else Paper(read_review_files(arguments.reviews))
        save_to = arguments.test_cases if arguments.save else None
        print_draft(paper, settings["fine_tuned"], max_new_tokens, keep, separator, save_to)
        return
    base_model = arguments.base_model or record.get("base_model")
    if base_model is None:
        raise InputError(f"{fine_tuned!r} does not record its base; name it with --base_model")
    settings = {"base": choose_settings(base_model, arguments.prompt, record), **settings}
    repo_id = choose_card(fine_tuned, arguments.hub_model_id, record) if arguments.push_to_hub else None

    # 2. Read the test cases. To take the judgements of a blind copy, no texts are needed.
    split = arguments.split if arguments.num_examples else None
    target = choose_target(arguments.test_cases, arguments.output, split)
    if arguments.num_examples:
        workbook = draw_examples(arguments.dataset_name, split, arguments.num_examples, arguments.seed, separator)
        data, seed = name_source(arguments.dataset_name), arguments.seed
    else:
        workbook = open_workbook(arguments.test_cases)
        data, seed = Path(arguments.test_cases).name, None
    workbook = continue_workbook(workbook, arguments.test_cases, target)
    sheet = find_case_sheet(workbook, str(target))
    if arguments.unblind:
        unblind(sheet, target)
        return
    if arguments.blind:
        check_blind(target)
    cases, columns = read_cases(sheet, str(target)), place_results(sheet, str(target))
    seen, log = modified(target), target.with_name(f"{target.stem}_outputs.jsonl")

    # 3. Let both models write, with the same prompts and the same decoding, and score what they wrote.
    reviews = [clean_reviews(case.review, keep, separator) for case in cases]
    references = [clean_text(case.reference, keep) for case in cases]
    outputs = {
        label: write_summaries(label, setting, reviews, max_new_tokens, arguments.batch_size, log)
        for label, setting in settings.items()
    }
    results = score_systems(outputs, reviews, references, keep)
    averages = average_scores(results)
    verdicts = [compare(results, "base"), compare(results, "lead")]
    weakest = find_weakest(results, [case.row for case in cases])

    # 4. Write the workbook and print what came out.
    if replaced := write_results(sheet, columns, cases, results):
        print(f"{replaced} characters that a workbook cannot hold are replaced in it; {log} has them.")
    of_what = {"data": data, "split": split, "seed": seed, "cases": len(cases)}
    figures = describe_run(settings, describe_decoding(max_new_tokens), of_what, averages)
    write_summary(sheet, describe_results(figures, verdicts, weakest), METRICS, averages, columns)
    append_run(workbook, figures)
    target = save_unless_changed(workbook, target, seen)
    print(format_table(tabulate(averages)), *verdicts, sep="\n")
    print(f"Base: {base_model}. Fine-tuned: {fine_tuned}. The texts side by side: {target}")
    if arguments.blind:
        copy = write_blind(sheet, columns, cases, target)
        print(f"To judge without knowing who wrote what: {copy}; afterwards the same command with --unblind")

    # 5. Add the means to the model's card on the Hub, if asked.
    if repo_id:
        push_scores(repo_id, figures, averages, verdicts, target)


if __name__ == "__main__":
    run(main)
