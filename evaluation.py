"""Write meta-reviews with the base and the fine-tuned model, side by side and scored: the third of three scripts.

    python evaluation.py                            # the test cases in eval_examples.xlsx; results go into it
    python evaluation.py --output results.xlsx      # results go into a copy
    python evaluation.py --num_examples 100         # random rows of the processed test split, into eval_test.xlsx
    python evaluation.py --model_name_or_path me/pythia-70m_finetuned   # a model on the Hub
    HF_TOKEN=... python evaluation.py --push_to_hub                     # also adds the scores to its card there

A test case is a row with a `review` (several reviews of one paper with a line <REVBREAK> between them) and, if there is
one, a `reference`. Other columns are yours and stay as they are; results go to the right of them.
"""

import json
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCard, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from openpyxl import Workbook
from openpyxl.worksheet.properties import PageSetupProperties
from rouge_score.rouge_scorer import RougeScorer
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from fine_tune import MAX_NEW_TOKENS, OUTPUT_DIR, SEED, TRAINING_RECORD, choose_device, load_model
from processing_meta_review import (
    KEEP,
    MAX_SUMMARY_TOKENS,
    PROCESSED_DIR,
    PROMPT,
    REVIEW_JOINER,
    REVIEW_SEPARATOR,
    HubArguments,
    InputError,
    TokenizationArguments,
    check_token,
    clean_reviews,
    clean_text,
    explain_hub,
    fit_prompts,
    format_table,
    load_source,
    load_tokenizer,
    parse_flags,
    public_name,
    read_record,
    run,
)
from workbook import (
    METRICS,
    MODELS,
    Case,
    modified,
    open_workbook,
    place_results,
    read_cases,
    save_workbook,
    style,
    write_results,
    write_text,
)

MODEL = OUTPUT_DIR  # the fine-tuned model: a folder or a Hub id
BASE_MODEL = None  # what it is compared with; None: the base that the fine-tuned model records
TEST_CASES = "eval_examples.xlsx"  # workbook with a column `review` and, if there are references, `reference`
OUTPUT = None  # workbook for the results; None: the test cases' own, or eval_test.xlsx with NUM_EXAMPLES
NUM_EXAMPLES = None  # take so many random rows of the processed data set instead of the workbook's test cases
SPLIT = "test"  # the split that they are taken from
BATCH_SIZE = 8  # meta-reviews written at the same time; changes memory and speed, not the texts in fp32


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
    hub_model_id: str | None = field(default=None, metadata={"help": "default: where the model was pushed to"})

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch_size", "num_examples"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")


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
    workbook = Workbook()
    sheet = workbook.active
    sheet.append(["row", "review", "reference"])
    for number, row in enumerate(rows, start=2):
        sheet.cell(number, 1, row)
        write_text(sheet.cell(number, 2), split[row]["review"].replace(REVIEW_JOINER, f"\n{separator}\n"))
        write_text(sheet.cell(number, 3), split[row]["summary"])
    style(sheet, {"row": 1, "review": 2, "reference": 3})
    sheet.freeze_panes, sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "A2", "landscape", 0
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)  # printed as wide as one page
    return workbook


def choose_workbook(arguments: EvaluationArguments, separator: str) -> tuple[Workbook, Path]:
    """The workbook with the test cases, and the file that the results go to.

    A file that is there already is taken on, with all that a person added to it, if it holds the same test cases;
    otherwise `InputError` is raised, so that nothing of it is lost.
    """
    source, output = Path(arguments.test_cases), arguments.output
    target = Path(output or ("eval_test.xlsx" if arguments.num_examples else source))
    if arguments.num_examples and target.resolve() == source.resolve():
        raise InputError(f"--num_examples never writes to the test cases {str(source)!r}; name another --output")
    if target.suffix.lower() != ".xlsx" or not target.absolute().parent.is_dir():
        raise InputError(
            f"results cannot go to {str(target)!r}: --output must be an .xlsx file in a folder that exists"
        )
    workbook = draw_examples(arguments, separator) if arguments.num_examples else open_workbook(str(source))
    if target.exists() and target.resolve() != source.resolve():
        wanted = [case.review for case in read_cases(workbook.active, str(source))]
        workbook = open_workbook(str(target))
        if [case.review for case in read_cases(workbook.active, str(target))] != wanted:
            raise InputError(f"{str(target)!r} exists and holds other test cases; name another file with --output")
    return workbook, target


def load_record(name: str) -> dict[str, Any]:
    """The record that fine_tune.py saved with a model; empty for a model that it did not make."""
    path = Path(name)
    if path.is_dir() and not (path / "config.json").exists():
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


def write_summaries(
    name: str, cases: list[Case], arguments: EvaluationArguments, record: dict[str, Any], label: str
) -> list[Output]:
    """Let a model write a meta-review for each case, its reviews cleaned, cut and prompted as for training."""
    settings = TokenizationArguments(
        model_name_or_path=name,
        prompt_template=record.get("prompt_template", PROMPT),
        max_length=record.get("max_length"),
        max_summary_tokens=record.get("max_summary_tokens", MAX_SUMMARY_TOKENS),
    )
    reserve = settings.max_summary_tokens
    if (arguments.max_new_tokens or 0) > reserve:
        raise InputError(f"--max_new_tokens must be at most {reserve}, the room for the summary in the model's context")
    max_new_tokens = arguments.max_new_tokens or min(MAX_NEW_TOKENS, reserve)
    tokenizer, limit = load_tokenizer(settings)
    cleaning = record.get("keep", KEEP), record.get("review_separator", REVIEW_SEPARATOR)
    reviews = [clean_reviews(case.review, *cleaning) for case in cases]
    prompts, cut = fit_prompts(reviews, tokenizer, limit, settings.prompt_template)
    if cut_cases := sum(map(bool, cut)):
        print(f"{label}: the reviews of {cut_cases} of {len(cases)} cases are cut to fit into {limit:,} tokens.")
    device, dtype = choose_device()
    model = load_model(name, dtype).to(device).eval()
    outputs: dict[int, Output] = {}
    started, tokens = time.perf_counter(), 0
    with tqdm(total=len(cases), desc=label, unit=" cases") as progress:
        for index, output in generate(model, tokenizer, prompts, max_new_tokens, arguments.batch_size):
            outputs[index] = output
            tokens += output.tokens
            progress.set_postfix_str(f"{tokens / (time.perf_counter() - started):.0f} tokens/s", refresh=False)
            progress.update()
    return [outputs[index] for index in range(len(cases))]


def score(output: Output, reference: str, keep: str = KEEP) -> dict[str, float | int | bool]:
    """ROUGE-1/2/L F1 with stemming (Lin 2004, the rouge-score package), words, and whether the text stopped by itself.

    Both texts are cleaned alike first, since the model learned from cleaned ones. No ROUGE without a reference.
    """
    scores: dict[str, float | int | bool] = {}
    if reference:
        rouge = RougeScorer(METRICS, use_stemmer=True).score(clean_text(reference, keep), clean_text(output.text, keep))
        scores = {metric: round(rouge[metric].fmeasure, 4) for metric in METRICS}
    return scores | {"words": len(output.text.split()), "stopped": output.stopped}


def tabulate_means(results: dict[str, list[dict[str, Any]]]) -> list[list[Any]]:
    """A table of the mean of each score for both models."""
    table: list[list[Any]] = [["model", "cases", "ROUGE-1", "ROUGE-2", "ROUGE-L", "words", "stopped by itself"]]
    for model in MODELS:
        rouge = [[result[metric] for result in results[model] if metric in result] for metric in METRICS]
        words = statistics.mean(result["words"] for result in results[model])
        stopped = statistics.mean(result["stopped"] for result in results[model])
        means = [f"{statistics.mean(values):.4f}" if values else "-" for values in rouge]
        table.append([model, len(results[model]), *means, f"{words:.0f}", f"{stopped:.0%}"])
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


def add_scores(card: ModelCard, data: str, split: str | None, means: list[list[Any]], base: str) -> None:
    """Put the scores into a model card, in the place of earlier ones on the same data: as text and as metadata."""
    where = f"the split `{split}` of `{data}`" if split else f"`{data}`"
    begin, end = f"<!-- scores on {where} -->", "<!-- end of scores -->"
    before, _, earlier = card.text.partition(begin)
    card.text = f"""{before.rstrip()}

{begin}
## Scores on {means[1][1]} cases of {where}

{format_table(means)}

Means over the cases; base: `{base}`. ROUGE is F1 with stemming against the reference, both texts cleaned.
{end}
{earlier.partition(end)[2].lstrip()}"""
    scores = dict(zip(means[0], means[-1], strict=True))
    new = [
        EvalResult("summarization", data, data, "rouge", float(scores[name]), dataset_split=split, metric_name=name)
        for name in scores
        if name.startswith("ROUGE") and scores[name] != "-"
    ]
    old = [result for result in card.data.eval_results or [] if not any(map(result.is_equal_except_value, new))]
    card.data.eval_results = [*old, *new] or None
    card.data.model_name = card.data.model_name or "fine-tuned model"  # results need one


def main() -> None:
    arguments: EvaluationArguments = parse_flags(EvaluationArguments, __doc__)

    # 1. Read the test cases and what the model records of its training.
    record = load_record(arguments.model_name_or_path)
    base_model = arguments.base_model or record.get("base_model")
    if base_model is None:
        raise InputError(f"{arguments.model_name_or_path!r} does not record its base; name it with --base_model")
    repo_id = choose_card(arguments, record) if arguments.push_to_hub else None
    workbook, target = choose_workbook(arguments, record.get("review_separator", REVIEW_SEPARATOR))
    sheet, cases = workbook.active, read_cases(workbook.active, str(target))
    columns = place_results(sheet, str(target))
    # Write and save once without texts: what can fail fails now rather than after the generation.
    nothing = [{"text": "", "words": 0, "stopped": False}] * len(cases)
    write_results(sheet, columns, cases, dict.fromkeys(MODELS, nothing))
    save_workbook(workbook, trial := target.with_name(f".{target.name}.try"))
    trial.unlink()
    seen = modified(target)

    # 2. Let both models write, with the same prompts and the same decoding, and score what they wrote.
    results = {}
    for label, name in zip(MODELS, (base_model, arguments.model_name_or_path), strict=True):
        outputs = write_summaries(name, cases, arguments, record, label)
        pairs = zip(outputs, cases, strict=True)
        results[label] = [
            {"text": out.text} | score(out, case.reference, record.get("keep", KEEP)) for out, case in pairs
        ]

    # 3. Write the workbook and print the means.
    write_results(sheet, columns, cases, results)
    if modified(target) != seen:
        print(f"{target} was changed in the meantime and stays as it is.")
        target = target.with_stem(f"{target.stem}_{time.strftime('%H%M%S')}")
    save_workbook(workbook, target)
    means = tabulate_means(results)
    print(format_table(means))
    print(f"Base: {base_model}. Fine-tuned: {arguments.model_name_or_path}. The texts side by side: {target}")

    # 4. Add the means to the model's card on the Hub, if asked.
    if repo_id:
        with explain_hub(f"the card of {repo_id} was not pushed", OSError, f". The scores are in {target}"):
            card = ModelCard.load(repo_id)
            add_scores(card, *name_data(arguments), means, public_name(base_model))
            card.push_to_hub(repo_id, commit_message="Add scores")
        print(f"Added the scores to the card of {repo_id} on the Hub.")


if __name__ == "__main__":
    run(main)
