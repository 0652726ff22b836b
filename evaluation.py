"""Write meta-reviews with the base and the fine-tuned model, side by side and scored: the third of three scripts.

    python evaluation.py                            # the test cases in eval_examples.xlsx; results go into it
    python evaluation.py --output results.xlsx      # results go into a copy
    python evaluation.py --num_examples 100         # random rows of the processed test split, into eval_test.xlsx
    python evaluation.py --blind                    # also a copy that does not say which model wrote what, to judge in
    python evaluation.py --unblind                  # the judgements of that copy, under the models' names
    python evaluation.py --model_name_or_path me/pythia-70m_finetuned   # a model on the Hub
    HF_TOKEN=... python evaluation.py --push_to_hub                     # also adds the scores to its card there
    python evaluation.py --reviews a.txt b.txt c.txt                    # the meta-review of your own reviews, printed
    python evaluation.py --forum "https://openreview.net/forum?id=ID"   # that of a paper on OpenReview

A test case is a row with a `review` (several reviews of one paper with a line <REVBREAK> between them) and, if there is
one, a `reference`. Other columns are yours and stay as they are; results go to the right of them. Every text also goes
into a .jsonl file beside the workbook as soon as it is written: an interrupted run takes from there what it has.
"""

import hashlib
import json
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import EvalResult, ModelCard, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from openpyxl import Workbook
from rouge_score.rouge_scorer import RougeScorer
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from fine_tune import (
    MAX_NEW_TOKENS,
    OUTPUT_DIR,
    SEED,
    TRAINING_RECORD,
    choose_device,
    find_revision,
    is_model,
    load_model,
)
from openreview_forum import Paper, describe_paper, fetch_forum, read_id, read_review_files
from processing_meta_review import (
    KEEP,
    MAX_SUMMARY_TOKENS,
    PROCESSED_DIR,
    PROMPT,
    PROMPTS,
    REVIEW_JOINER,
    REVIEW_SEPARATOR,
    HubArguments,
    InputError,
    TokenizationArguments,
    check_token,
    clean_reviews,
    clean_text,
    encode_texts,
    explain_hub,
    fit_prompts,
    format_table,
    load_source,
    load_tokenizer,
    parse_flags,
    public_name,
    read_record,
    run,
    share_budget,
)
from workbook import (
    MODELS,
    Case,
    add_case,
    append_run,
    blind_paths,
    case_sheet,
    check_target,
    find_lock,
    make_blind,
    modified,
    new_workbook,
    open_workbook,
    place_results,
    read_cases,
    save_workbook,
    unblind,
    write_results,
    write_summary,
)

MODEL = OUTPUT_DIR  # the fine-tuned model: a folder or a Hub id
BASE_MODEL = None  # what it is compared with; None: the base that the fine-tuned model records
TEST_CASES = "eval_examples.xlsx"  # workbook with a column `review` and, if there are references, `reference`
OUTPUT = None  # workbook for the results; None: the test cases' own, or eval_test.xlsx with NUM_EXAMPLES
NUM_EXAMPLES = None  # take so many random rows of the processed data set instead of the workbook's test cases
SPLIT = "test"  # the split that they are taken from
BATCH_SIZE = 8  # meta-reviews written at the same time; changes memory and speed, not the texts in fp32

SYSTEMS = (*MODELS, "lead")  # lead: the opening words of each review, what a summary must beat to be worth anything
METRICS = {  # of a text: title and format
    "rouge1": ("ROUGE-1", ".3f"),
    "rouge2": ("ROUGE-2", ".3f"),
    "rougeL": ("ROUGE-L", ".3f"),
    "words": ("words", ".0f"),
    "length_ratio": ("words / words of the reference", ".2f"),
    "stopped": ("stopped by itself", ".0%"),
    "repetition": ("4-grams that repeat an earlier one", ".0%"),
    "copied": ("words copied from the reviews, 4 or more in a row", ".0%"),
    "longest_copy": ("longest copy, words", ".1f"),
}
Estimate = tuple[float, float | None, float | None]  # mean, and from where to where
ROUGE = ("rouge1", "rouge2", "rougeL")
NGRAM = 4  # words: of a repetition, and the shortest fragment that counts as copied
RESAMPLES = 2_000  # of the bootstrap
FEWEST_CASES = 10  # with fewer, an interval means nothing
NOTES = (
    "from, to: the 95 % interval over cases; another training run would differ too, which it does not show.",
    "lead: the opening words of each review in equal parts, as many as the reference has.",
)


@dataclass
class EvaluationArguments(HubArguments):
    """Every constant as a flag."""

    model_name_or_path: str = field(default=MODEL, metadata={"help": "the fine-tuned model: folder or Hub id"})
    base_model: str | None = field(default=BASE_MODEL, metadata={"help": "default: the base that the model records"})
    test_cases: str = field(default=TEST_CASES, metadata={"help": "workbook with the columns review and reference"})
    output: str | None = field(default=OUTPUT, metadata={"help": "workbook for the results; default: in place"})
    max_new_tokens: int | None = field(default=None, metadata={"help": f"default: {MAX_NEW_TOKENS}, if that fits"})
    batch_size: int = field(default=BATCH_SIZE, metadata={"help": "meta-reviews written at the same time"})
    num_examples: int | None = field(default=NUM_EXAMPLES, metadata={"help": "random rows of the data set instead"})
    split: str = field(default=SPLIT, metadata={"help": "the split that they are taken from"})
    dataset_name: str = field(default=PROCESSED_DIR, metadata={"help": "cleaned data set: a folder or a Hub id"})
    seed: int = field(default=SEED, metadata={"help": "which rows are taken"})
    prompt: str | None = field(default=None, metadata={"help": f"{', '.join(PROMPTS)}; default: that of the training"})
    blind: bool = field(default=False, metadata={"help": "also write a copy that hides who wrote what, and its key"})
    unblind: bool = field(default=False, metadata={"help": "write no texts; take the judgements from that copy"})
    hub_model_id: str | None = field(default=None, metadata={"help": "default: where the model was pushed to"})
    reviews: list[str] | None = field(default=None, metadata={"help": "files with reviews, one of each, or with a line "
                                                              "--- between them; - is standard input"})  # fmt: skip
    forum: str | None = field(default=None, metadata={"help": "a paper on OpenReview: its address or id"})
    save: bool = field(default=False, metadata={"help": "with --reviews or --forum: add the case to the workbook"})

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch_size", "num_examples"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")
        TokenizationArguments(prompt=self.prompt or PROMPT)  # raises where there is no such prompt
        self.forum = None if self.forum is None else read_id(self.forum)
        one_paper = bool(self.reviews) + bool(self.forum)
        others = ("output", "num_examples", "blind", "unblind", "push_to_hub")
        if one_paper > 1 or (one_paper and (wrong := [name for name in others if getattr(self, name)])):
            what = "one another" if one_paper > 1 else f"--{wrong[0]}"
            raise ValueError(f"--reviews and --forum print the meta-review of one paper and do not go with {what}")
        if self.save and not one_paper:
            raise ValueError("--save adds a case that --reviews or --forum gives")


@dataclass
class Output:
    """What a model wrote for a case, whether it stopped by itself, and how many tokens it wrote."""

    text: str
    stopped: bool
    tokens: int


def draw_examples(arguments: EvaluationArguments, separator: str) -> Workbook:
    """A workbook with random rows of the processed data set, the same rows for the same seed."""
    splits = load_source(arguments.dataset_name)
    if arguments.split not in splits:
        raise InputError(f"{arguments.dataset_name!r} has no split {arguments.split!r}; there are: {', '.join(splits)}")
    split = splits[arguments.split]
    if not {"review", "summary"} <= set(split.column_names):
        raise InputError(f"{arguments.dataset_name!r} is not cleaned. First: python processing_meta_review.py")
    if arguments.num_examples > len(split):
        print(f"The split {arguments.split!r} has only {len(split):,} rows; all are taken.")
    rows = sorted(random.Random(arguments.seed).sample(range(len(split)), min(arguments.num_examples, len(split))))
    return new_workbook([
        {"row": row, "review": split[row]["review"].replace(REVIEW_JOINER, f"\n{separator}\n"),
         "reference": split[row]["summary"]} for row in rows])  # fmt: skip


def choose_workbook(arguments: EvaluationArguments, separator: str) -> tuple[Workbook, Path]:
    """The workbook with the test cases, and the file that the results go to.

    A file that is there already is taken on, with all that a person added to it, if it holds the same test cases;
    otherwise `InputError` is raised, so that nothing of it is lost.
    """
    source, output = Path(arguments.test_cases), arguments.output
    target = Path(output or (f"eval_{arguments.split}.xlsx" if arguments.num_examples else source))
    if arguments.num_examples and target.resolve() == source.resolve():
        raise InputError(f"--num_examples never writes to the test cases {str(source)!r}; name another --output")
    check_target(target)
    workbook = draw_examples(arguments, separator) if arguments.num_examples else open_workbook(str(source))
    if target.exists() and target.resolve() != source.resolve():
        wanted = sorted(case.review for case in read_cases(case_sheet(workbook, str(source)), str(source)))
        workbook = open_workbook(str(target))
        if sorted(case.review for case in read_cases(case_sheet(workbook, str(target)), str(target))) != wanted:
            raise InputError(f"{str(target)!r} exists and holds other test cases; name another file with --output")
    return workbook, target


def load_record(name: str) -> dict[str, Any]:
    """The record that fine_tune.py saved with a model; empty for a model that it did not make."""
    path = Path(name)
    if path.is_dir() and not is_model(path):
        raise InputError(f"the folder {name!r} holds no finished model. First: python fine_tune.py")
    if name == MODEL and not path.is_dir():
        raise InputError(f"there is no model {name!r} here. First: python fine_tune.py")
    if path.is_dir():
        return read_record(name, TRAINING_RECORD)
    with explain_hub(f"cannot read the model {name!r}"):
        try:
            return json.loads(Path(hf_hub_download(name, TRAINING_RECORD)).read_text())
        except RemoteEntryNotFoundError:
            return {}


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[tuple[int, Output]]:
    """Continue the prompts (token ids) by greedy decoding; yields each prompt's index and output as it is written.

    Prompts of about the same length share a batch, padded on the left, the longest first: if memory is too small it
    shows at once. In fp32 the texts are those of one prompt at a time.
    """
    end = tokenizer.eos_token_id
    padding = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    # Put in the place of what the model brings, so that base and fine-tuned model decode alike.
    settings = {"eos_token_id": end, "pad_token_id": padding, "max_new_tokens": max_new_tokens}
    model.generation_config = GenerationConfig(do_sample=False, **settings)
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        length = len(prompts[batch[0]])
        input_ids = torch.tensor([[padding] * (length - len(prompts[i])) + prompts[i] for i in batch])
        mask = torch.tensor([[0] * (length - len(prompts[i])) + [1] * len(prompts[i]) for i in batch])
        with torch.inference_mode():
            whole = model.generate(input_ids.to(model.device), attention_mask=mask.to(model.device))
        for index, tokens in zip(batch, whole[:, length:].tolist(), strict=True):
            stop = tokens.index(end) if end in tokens else None
            text = tokenizer.decode(tokens[:stop], skip_special_tokens=True).strip()
            yield index, Output(text, stop is not None, len(tokens) if stop is None else stop + 1)


def identify(name: str) -> dict[str, Any]:
    """What tells the weights of a model from others: its commit on the Hub, or the files in a folder."""
    files = sorted(Path(name).glob("*.safetensors")) if Path(name).exists() else []
    weights = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return {"model": name, "revision": find_revision(name), "weights": weights}


def read_outputs(path: Path) -> dict[str, Output]:
    """The outputs that earlier runs put into the .jsonl file, by their keys; a line that was cut off is passed over."""
    outputs = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            outputs[row["key"]] = Output(row["text"], row["stopped"], row["tokens"])
    return outputs


def choose_settings(name: str, arguments: EvaluationArguments, record: dict[str, Any]) -> TokenizationArguments:
    """How a model is prompted: as in its training, unless a flag says otherwise."""
    settings = TokenizationArguments(
        model_name_or_path=name,
        prompt=arguments.prompt or record.get("prompt_template", PROMPT),
        max_length=record.get("max_length"),
        max_summary_tokens=record.get("max_summary_tokens", MAX_SUMMARY_TOKENS),
    )
    reserve = settings.max_summary_tokens
    if (arguments.max_new_tokens or 0) > reserve:
        raise InputError(f"--max_new_tokens must be at most {reserve}, the room for the summary in the model's context")
    arguments.max_new_tokens = arguments.max_new_tokens or min(MAX_NEW_TOKENS, reserve)
    return settings


def write_summaries(
    label: str, settings: TokenizationArguments, reviews: list[str], arguments: EvaluationArguments, log: Path
) -> list[Output]:
    """Let a model write a meta-review for the cleaned reviews of each case, cut and prompted as for training.

    Each output goes into the file `log` as it is written; one that stands there already is not written again.
    """
    name = settings.model_name_or_path
    tokenizer, limit = load_tokenizer(settings)
    prompts, cut = fit_prompts(reviews, tokenizer, limit, settings.prompt_template)
    if cut_cases := sum(map(bool, cut)):
        print(f"{label}: the reviews of {cut_cases} of {len(reviews)} cases are cut to fit into {limit:,} tokens.")
    device, dtype = choose_device()
    decoding = identify(name) | {"max_new_tokens": arguments.max_new_tokens, "dtype": str(dtype)}
    keys = [hashlib.sha256(json.dumps([decoding, prompt]).encode()).hexdigest() for prompt in prompts]
    there = read_outputs(log)
    outputs = {index: there[key] for index, key in enumerate(keys) if key in there}
    if outputs:
        print(f"{label}: {len(outputs)} of {len(keys)} texts stand in {log} already.")
    missing = [index for index in range(len(keys)) if index not in outputs]
    if not missing:
        return [outputs[index] for index in range(len(keys))]
    model = load_model(name, dtype).to(device).eval()
    started, tokens = time.perf_counter(), 0
    lines = [prompts[index] for index in missing]
    cut_off = log.exists() and not log.read_bytes().endswith(b"\n")  # the last line, by an interruption
    with log.open("a", encoding="utf-8") as file, tqdm(total=len(missing), desc=label, unit=" cases") as progress:
        file.write("\n" if cut_off else "")
        for place, output in generate(model, tokenizer, lines, arguments.max_new_tokens, arguments.batch_size):
            outputs[missing[place]] = output
            row = {"case": missing[place], "system": label, "model": name} | asdict(output)
            print(json.dumps(row | {"key": keys[missing[place]]}), file=file, flush=True)
            tokens += output.tokens
            progress.set_postfix_str(f"{tokens / (time.perf_counter() - started):.0f} tokens/s", refresh=False)
            progress.update()
    return [outputs[index] for index in range(len(keys))]


def lead(review: str, words: int) -> str:
    """The baseline: the opening words of each of the cleaned reviews in equal parts, so many words together."""
    reviews = [text.split() for text in review.split(REVIEW_JOINER)]
    shares = share_budget([len(text) for text in reviews], words)
    return "\n".join(" ".join(text[:share]) for text, share in zip(reviews, shares, strict=True) if share)


def repetition(words: list[str]) -> float:
    """Share of the 4-grams that repeat an earlier one of the same text (seq-rep-4, Welleck et al. 2020)."""
    ngrams = [tuple(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def copied_fragments(words: list[str], reviews: list[list[str]]) -> tuple[float, int]:
    """Share of the words inside fragments of 4 or more words that stand in one of the reviews, and the longest one.

    The coverage by extractive fragments of Grusky et al. 2018 without the shorter ones, which any two texts share.
    Every fragment counts, where their greedy search would step over one that begins inside a shorter match.
    """
    there = {tuple(review[i : i + NGRAM]) for review in reviews for i in range(len(review) - NGRAM + 1)}
    starts = [i for i in range(len(words) - NGRAM + 1) if tuple(words[i : i + NGRAM]) in there]
    share = len({start + offset for start in starts for offset in range(NGRAM)}) / max(1, len(words))
    matchers = (SequenceMatcher(None, words, review, autojunk=False) for review in reviews)
    longest = max((matcher.find_longest_match().size for matcher in matchers), default=0)
    return share, longest if starts else 0


def score(text: str, stopped: bool | None, review: str, reference: str) -> dict[str, float | bool | None]:
    """All METRICS of a text, None where one cannot be told; `review` and `reference` are cleaned, and so should it be.

    ROUGE-1/2/L is F1 with stemming (Lin 2004, the rouge-score package), the variant that papers report.
    """
    words, reviews = text.lower().split(), [one.lower().split() for one in review.split(REVIEW_JOINER)]
    share, longest = copied_fragments(words, reviews)
    scores: dict[str, float | bool | None] = dict.fromkeys(METRICS)
    scores |= {"words": len(words), "stopped": stopped, "repetition": repetition(words)}
    scores |= {"copied": share, "longest_copy": longest}
    if reference:
        rouge = RougeScorer(ROUGE, use_stemmer=True).score(reference, text)
        scores |= {metric: rouge[metric].fmeasure for metric in ROUGE}
        scores["length_ratio"] = len(words) / len(reference.split())
    return scores


def score_systems(
    outputs: dict[str, list[Output]], reviews: list[str], references: list[str], keep: str
) -> dict[str, list[dict[str, Any]]]:
    """For base, fine_tuned and lead: text and scores of each case; lead only writes where there is a reference."""
    results: dict[str, list[dict[str, Any]]] = {system: [] for system in SYSTEMS}
    for index, (review, reference) in enumerate(zip(reviews, references, strict=True)):
        for model in MODELS:
            output = outputs[model][index]
            scores = score(clean_text(output.text, keep), output.stopped, review, reference)
            results[model].append({"text": output.text} | scores)
        text = lead(review, len(reference.split()))
        scores = score(text, None, review, reference) if reference else dict.fromkeys(METRICS)
        results["lead"].append({"text": text} | scores)
    return results


def estimate(values: list[float]) -> Estimate:
    """Mean and its 95 % interval: the percentile bootstrap (Efron 1979) over the values, always with the same draws.

    The interval is None, None for fewer than FEWEST_CASES values.
    """
    array = np.asarray(values, dtype=float)
    if len(array) < FEWEST_CASES:
        return float(array.mean()), None, None
    draws = np.random.default_rng(SEED).integers(len(array), size=(RESAMPLES, len(array)))
    return float(array.mean()), *np.percentile(array[draws].mean(axis=1), [2.5, 97.5]).tolist()


def compare(results: dict[str, list[dict[str, Any]]], other: str) -> str:
    """In a sentence, whether fine_tuned is better than `other`: the differences in ROUGE-L, case by case."""
    pairs = zip(results["fine_tuned"], results[other], strict=True)
    differences = [mine["rougeL"] - theirs["rougeL"] for mine, theirs in pairs if mine["rougeL"] is not None]
    if len(differences) < FEWEST_CASES:
        number = f"{len(differences)} cases with a reference are too few"
        return (
            f"Whether fine_tuned is better than {other} cannot be told: {number} ({FEWEST_CASES} or more are needed)."
        )
    mean, low, high = estimate(differences)
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not better than"
    interval = f"ROUGE-L {mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, {len(differences)} cases"
    return f"fine_tuned is {verdict} {other}: {interval}."


def find_weakest(results: dict[str, list[dict[str, Any]]], cases: list[Case]) -> str:
    """In a sentence, the rows of the sheet where fine_tuned has the lowest ROUGE-L: where to look first."""
    scores = [(result["rougeL"], case.row) for result, case in zip(results["fine_tuned"], cases, strict=True)]
    rows = [row for rouge, row in sorted(pair for pair in scores if pair[0] is not None)[:5]]
    return f"fine_tuned is weakest in the rows {', '.join(map(str, rows))} (lowest ROUGE-L)." if rows else ""


def summarize(results: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Estimate]]:
    """Mean and interval of each of METRICS for each system, where there are cases that have it."""
    summary: dict[str, dict[str, Estimate]] = {}
    for system, cases in results.items():
        values = {name: [case[name] for case in cases if case[name] is not None] for name in METRICS}
        summary[system] = {name: estimate(numbers) for name, numbers in values.items() if numbers}
    return summary


def tabulate(summary: dict[str, dict[str, Estimate]]) -> list[list[str]]:
    """The means and intervals as text: a row for each metric, a column for each system."""
    table = [["", *summary]]
    for name, (title, form) in METRICS.items():
        estimates = [metrics.get(name, (None, None, None)) for metrics in summary.values()]
        texts = [["-" if value is None else format(value, form) for value in each] for each in estimates]
        table.append([title, *(f"{mean} ({low} to {high})" if low != "-" else mean for mean, low, high in texts)])
    return table


def choose_card(arguments: EvaluationArguments, record: dict[str, Any]) -> str:
    """The Hub id of the model whose card gets the scores. Raises `InputError` where there is none to write to."""
    here = Path(arguments.model_name_or_path).exists()
    repo_id = arguments.hub_model_id or (record.get("hub_model_id") if here else arguments.model_name_or_path)
    if repo_id is None:
        raise InputError(f"{arguments.model_name_or_path!r} was not pushed; push it, or name it with --hub_model_id")
    check_token()
    with explain_hub(f"cannot read the card of {repo_id!r}"):
        ModelCard.load(repo_id)
    return repo_id


def name_data(arguments: EvaluationArguments) -> tuple[str, str | None]:
    """Name and split of what the models are tested on: the source of a data set, or the workbook (no split)."""
    if arguments.num_examples is None:
        return Path(arguments.test_cases).name, None
    record = read_record(arguments.dataset_name)
    return record.get("dataset_name") or public_name(arguments.dataset_name), arguments.split


def add_scores(card: ModelCard, run: dict[str, Any], summary: dict[str, Any], verdicts: list[str]) -> None:
    """Put the scores of a run into a model card, in the place of those on the same data: as text and as metadata."""
    data, split = run["data"], run["split"]
    where = f"the split `{split}` of `{data}`" if split else f"`{data}`"
    begin, end = f"<!-- scores on {where} -->", "<!-- end of scores -->"
    before, _, earlier = card.text.partition(begin)
    card.text = f"""{before.rstrip()}

{begin}
## Scores on {run["cases"]} cases of {where}

{format_table(tabulate(summary))}

{" ".join(verdicts)}

Means and 95 % intervals over the cases; base: `{run["base"]}`; lead: the opening words of each review. ROUGE is F1 with
stemming against the reference, both texts cleaned.
{end}
{earlier.partition(end)[2].lstrip()}"""
    new = [
        EvalResult(
            "summarization", data, data, "rouge", round(value[0], 4), dataset_split=split, metric_name=METRICS[name][0]
        )
        for name, value in summary["fine_tuned"].items()
        if name in ROUGE
    ]
    old = [result for result in card.data.eval_results or [] if not any(map(result.is_equal_except_value, new))]
    card.data.eval_results = [*old, *new] or None
    card.data.model_name = card.data.model_name or "fine-tuned model"  # results need one


def describe_run(
    arguments: EvaluationArguments, settings: list[TokenizationArguments], summary: dict[str, Any], cases: int
) -> dict[str, Any]:
    """A line of the sheet `runs`: models, prompt, decoding, data and the mean of each metric of each system."""
    run = {"date": time.strftime("%Y-%m-%d %H:%M:%S")}
    for system, each in zip(MODELS, settings, strict=True):
        name = each.model_name_or_path
        run |= {system: public_name(name), f"{system}_revision": find_revision(name)}
    templates = {template: name for name, template in PROMPTS.items()}
    data, split = name_data(arguments)
    run |= {
        "prompt": templates.get(settings[-1].prompt_template, settings[-1].prompt_template),
        "decoding": f"greedy, {arguments.max_new_tokens} tokens, {str(choose_device()[1]).removeprefix('torch.')}",
        "data": data,
        "split": split,
        "seed": arguments.seed if split else None,
        "cases": cases,
    }
    figures = [(f"{system} {name}", values) for system, metrics in summary.items() for name, values in metrics.items()]
    return run | {title: values[0] for title, values in figures}


def read_paper(arguments: EvaluationArguments) -> Paper:
    """The reviews, and what else is known, of the paper that --forum or --reviews names."""
    try:
        return fetch_forum(arguments.forum) if arguments.forum else Paper(read_review_files(arguments.reviews))
    except ValueError as error:
        raise InputError(str(error)) from error


def write_draft(arguments: EvaluationArguments, record: dict[str, Any]) -> None:
    """Print the meta-review that the fine-tuned model writes for one paper, and its scores if there is a human one."""
    keep, separator = record.get("keep", KEEP), record.get("review_separator", REVIEW_SEPARATOR)
    settings = choose_settings(arguments.model_name_or_path, arguments, record)
    tokenizer, limit = load_tokenizer(settings)
    paper = read_paper(arguments)
    texts = f"\n{separator}\n".join(paper.reviews)
    review, reference = clean_reviews(texts, keep, separator), clean_text(paper.meta_review, keep)
    if not review:
        raise InputError(f"cleaning leaves nothing of the reviews; the model knows only the characters {keep}")
    if arguments.forum:
        print(describe_paper(paper))
    if arguments.save:
        case = {"case": paper.title, "review": texts, "reference": paper.meta_review}
        print(f"Saved as row {add_case(arguments.test_cases, case)} of {arguments.test_cases}.")

    [prompt], [cut] = fit_prompts([review], tokenizer, limit, settings.prompt_template)
    lengths = [len(tokens) for tokens in encode_texts(review.split(REVIEW_JOINER), tokenizer)]
    kept = share_budget(lengths, sum(lengths) - cut)
    shares = ", ".join(f"{part / length:.0%}" for part, length in zip(kept, lengths, strict=True))
    print(f"Read of each review ({limit:,} tokens in all): {shares}")
    device, dtype = choose_device()
    model = load_model(arguments.model_name_or_path, dtype).to(device).eval()
    [(_, output)] = generate(model, tokenizer, [prompt], arguments.max_new_tokens, 1)
    end = "" if output.stopped else f" [cut off after {output.tokens} tokens]"
    print(f"\nDraft by a model ({public_name(arguments.model_name_or_path)}); check it against the reviews:\n")
    print(f"{output.text}{end}")
    if reference:
        print(f"\nWritten by a person:\n\n{paper.meta_review}\n")
        written = score(clean_text(output.text, keep), output.stopped, review, reference)
        opening = score(lead(review, len(reference.split())), None, review, reference)
        print(format_table(tabulate(summarize({"fine_tuned": [written], "lead": [opening]}))))


def main() -> None:
    arguments: EvaluationArguments = parse_flags(EvaluationArguments, __doc__)

    # 1. Read the test cases and what the model records of its training.
    record = load_record(arguments.model_name_or_path)
    if arguments.reviews or arguments.forum:
        write_draft(arguments, record)
        return
    base_model = arguments.base_model or record.get("base_model")
    if base_model is None:
        raise InputError(f"{arguments.model_name_or_path!r} does not record its base; name it with --base_model")
    repo_id = choose_card(arguments, record) if arguments.push_to_hub else None
    keep, separator = record.get("keep", KEEP), record.get("review_separator", REVIEW_SEPARATOR)
    workbook, target = choose_workbook(arguments, separator)
    if arguments.unblind:
        unblind(case_sheet(workbook, str(target)), target)
        return
    copy, _ = blind_paths(target)
    if arguments.blind and copy.exists():
        raise InputError(f"{str(copy)!r} is there already: take its judgements with --unblind, then move it away")
    sheet = case_sheet(workbook, str(target))
    cases, columns = read_cases(sheet, str(target)), place_results(sheet, str(target))
    reviews = [clean_reviews(case.review, keep, separator) for case in cases]
    references = [clean_text(case.reference, keep) for case in cases]
    settings = [choose_settings(name, arguments, record) for name in (base_model, arguments.model_name_or_path)]
    seen = modified(target)

    # 2. Let both models write, with the same prompts and the same decoding, and score what they wrote.
    log = target.with_name(f"{target.stem}_outputs.jsonl")
    outputs = {
        label: write_summaries(label, setting, reviews, arguments, log)
        for label, setting in zip(MODELS, settings, strict=True)
    }
    results = score_systems(outputs, reviews, references, keep)
    summary = summarize(results)
    verdicts = [compare(results, "base"), compare(results, "lead")]

    # 3. Write the workbook and print what came out.
    if replaced := write_results(sheet, columns, cases, results):
        print(f"{replaced} characters that a workbook cannot hold are replaced in it; {log} has them.")
    run = describe_run(arguments, settings, summary, len(cases))
    sentences = [f"{run['date']}: {run['fine_tuned']} against {run['base']}, prompt {run['prompt']!r}."]
    sentences += [f"{run['cases']} cases of {run['data']}{f', split {split}' if (split := run['split']) else ''}."]
    write_summary(sheet, [*sentences, *verdicts, find_weakest(results, cases), *NOTES], METRICS, summary, columns)
    append_run(workbook, run)
    if modified(target) != seen or find_lock(target):
        print(f"{target} was changed or opened in the meantime and stays as it is.")
        target = target.with_stem(f"{target.stem}_{time.strftime('%H%M%S')}")
    save_workbook(workbook, target)
    print(format_table(tabulate(summary)), *verdicts, sep="\n")
    print(f"Base: {base_model}. Fine-tuned: {arguments.model_name_or_path}. The texts side by side: {target}")
    if arguments.blind:
        (blind, who), (copy, key) = make_blind(sheet, columns, cases), blind_paths(target)
        key.write_text(json.dumps(who, indent=2) + "\n")
        save_workbook(blind, copy)
        print(f"To judge without knowing who wrote what: {copy}; afterwards the same command with --unblind")

    # 4. Add the means to the model's card on the Hub, if asked.
    if repo_id:
        with explain_hub(f"the card of {repo_id} was not pushed", OSError, f". The scores are in {target}"):
            card = ModelCard.load(repo_id)
            add_scores(card, run, summary, verdicts)
            card.push_to_hub(repo_id, commit_message="Add scores")
        print(f"Added the scores to the card of {repo_id} on the Hub.")


if __name__ == "__main__":
    run(main)
