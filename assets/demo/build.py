"""Make the embedded demo: invented reviews with meta-reviews, and a small GPT-NeoX trained on text of the same world.

    python assets/demo/build.py                        write reviews/ and tiny/ again (about 11 minutes on 2 idle cores)
    python assets/demo/build.py --data_only            write reviews/ only (seconds, byte for byte the same each time)
    python assets/demo/build.py --score RESULTS.xlsx   score the texts of the models in it

The words are in wording.toml. How a meta-review follows from its reviews is told in README.md and coded in `Paper`.
"""

import argparse
import itertools
import json
import random
import re
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SEED = 2024
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 1050, 100, 200
# Dirty rows among the training rows, as real data has them.
NULL_OUTPUTS, EMPTY_OUTPUTS, NULL_INPUTS, EMPTY_INPUTS = 3, 2, 2, 1
DUPLICATES, VALIDATION_ROWS_IN_TRAIN = 7, 1
REVIEW_BREAK = " <REVBREAK> "

BAR = 5.5  # a paper is accepted if its average score is at least this, and no flaw is raised twice
SPREAD = 2  # reviewers agree if their scores are at most this far apart
SCORES = {"weak": (1, 3, 3, 3, 5, 5, 5, 6), "mixed": (3, 5, 5, 6, 6, 8), "strong": (5, 6, 6, 8, 8, 8, 8, 10)}

END_OF_TEXT = "<|endoftext|>"
VOCABULARY, CONTEXT, TOKENIZER_DOCUMENTS = 1400, 1024, 3000
HIDDEN, LAYERS, HEADS = 192, 4, 3
BATCH, STEPS, WARMUP, LEARNING_RATE = 4, 2400, 150, 3e-3


@dataclass(frozen=True)
class Point:
    """Something that a reviewer may praise or criticize; the first of its phrasings is the canonical one."""

    aspect: str
    kind: str  # "strength", "weakness", or "flaw" (a weakness so serious that it decides)
    phrasings: tuple[str, ...]
    additions: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.phrasings[0]


WORDING = tomllib.loads((HERE / "wording.toml").read_text(encoding="utf-8"))
REVIEW, META_REVIEW = WORDING["review"], WORDING["meta_review"]
POINTS = [Point(p["aspect"], p["kind"], tuple(p["phrasings"]), tuple(p["additions"])) for p in WORDING["points"]]
STRENGTHS, WEAKNESSES, FLAWS = ([p for p in POINTS if p.kind == kind] for kind in ("strength", "weakness", "flaw"))


@dataclass
class Paper:
    """A paper with its reviews: the scores, what each reviewer raises, and what follows from them."""

    task: str
    method: str
    scores: list[int]
    raised: list[list[Point]]  # for each reviewer

    def reviewers(self, point: Point) -> list[int]:
        return [number for number, points in enumerate(self.raised, 1) if point in points]

    def shared(self, *kinds: str) -> list[str]:
        """Names of the points that at least two reviewers raise, in the order of wording.toml."""
        return [point.name for point in POINTS if point.kind in kinds and len(self.reviewers(point)) > 1]

    @property
    def flawed(self) -> bool:
        return bool(self.shared("flaw"))

    @property
    def above_bar(self) -> bool:
        return sum(self.scores) >= BAR * len(self.scores)

    @property
    def accepted(self) -> bool:
        return self.above_bar and not self.flawed

    @property
    def agreed(self) -> bool:
        return max(self.scores) - min(self.scores) <= SPREAD


def split_topics() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """All pairs of a task and a method: those for training and pretraining, and those for the test papers only."""
    topics = list(itertools.product(WORDING["tasks"], WORDING["methods"]))
    random.Random(SEED).shuffle(topics)
    return topics[TEST_ROWS:], topics[:TEST_ROWS]


def draw_paper(rng: random.Random, topics: Sequence[tuple[str, str]]) -> Paper:
    """Draw a paper; its reviewers mostly notice the same few points, so that some are raised twice and some once."""
    task, method = rng.choice(topics)
    while True:
        quality = rng.choice(["weak", "weak", "mixed", "strong", "strong"])
        scores = [rng.choice(SCORES[quality]) for _ in range(rng.choice([2, 2, 3, 3, 3, 3, 4]))]
        flaw = rng.choice(FLAWS) if rng.random() < 0.12 else None
        strengths = rng.sample(STRENGTHS, 4)
        taken = {point.aspect for point in strengths}
        weaknesses = rng.sample([point for point in WEAKNESSES if point.aspect not in taken], 4)
        raised = []
        for number, score in enumerate(scores):
            points: list[Point] = []
            if flaw and rng.random() < 0.65:
                points.append(flaw)
                scores[number] = min(score, 6)
            for salient, others, count in (
                (strengths[:3], STRENGTHS, rng.choice([2, 2, 3] if score > BAR else [1, 1, 2])),
                (weaknesses[:3], WEAKNESSES, rng.choice([1, 1, 2] if score > BAR else [2, 2, 3])),
            ):
                for _ in range(count):
                    used = {point.aspect for point in points}
                    source = salient if rng.random() < 0.75 else others
                    free = [point for point in source if point.aspect not in used]
                    points += [rng.choice(free)] if free else []
            raised.append(points)
        paper = Paper(task, method, scores, raised)
        shared = [point.aspect for point in POINTS if len(paper.reviewers(point)) > 1]
        if 2 <= len(shared) <= 5 and len(set(shared)) == len(shared):
            return paper


def fill(template: str, **values: Any) -> str:
    """Fill in a template and begin each of its sentences with a capital letter."""
    return re.sub(r"(^|[.?] )([a-z])", lambda match: match[1] + match[2].upper(), template.format(**values))


def listing(items: Sequence[Any]) -> str:
    """Write "a", "a and b", or "a, b and c"."""
    return " and ".join(filter(None, [", ".join(map(str, items[:-1])), str(items[-1])]))


def clean(text: str) -> str:
    """Remove what the toolkit removes from reviews and summaries before training."""
    return re.sub(r"[^a-zA-Z0-9\s]", "", text)


def write_review(paper: Paper, number: int, opening: str, rng: random.Random) -> str:
    blocks = []
    headed = rng.random() < 0.25  # "Strengths: ... Weaknesses: ..." instead of full sentences
    for kinds, head, first, more in (
        (["strength"], "Strengths: {x}.", REVIEW["praise"], REVIEW["more_praise"]),
        (["weakness", "flaw"], "Weaknesses: {x}.", REVIEW["blame"], REVIEW["more_blame"]),
    ):
        points = [point for point in paper.raised[number] if point.kind in kinds]
        rng.shuffle(points)
        sentences = []
        for place, point in enumerate(points):
            plain = head if place == 0 else "{x}."
            frame = plain if headed else rng.choice(first if place == 0 else more)
            sentences.append(fill(frame, x=rng.choice(point.phrasings)))
            if rng.random() < 0.2:
                sentences.append(rng.choice(point.additions))
        blocks.append(" ".join(sentences))
    if not headed and rng.random() < 0.25:
        blocks.reverse()
    if rng.random() < 0.3:
        blocks.append(rng.choice(REVIEW["remarks"]))
    score = paper.scores[number]
    rating = [rng.choice(REVIEW["ratings"]).format(s=score)]
    if rng.random() < 0.6:
        rating.insert(rng.randrange(2), rng.choice(WORDING["stances"][str(score)]))
    if rng.random() < 0.5:
        rating.append(rng.choice(REVIEW["confidence"]))
    blocks.insert(0, fill(opening, task=paper.task, method=paper.method))
    blocks.insert(0 if rng.random() < 0.15 else len(blocks), " ".join(rating))
    return " ".join(blocks)


def write_reviews(paper: Paper, rng: random.Random) -> list[str]:
    openings = rng.sample(REVIEW["openings"], len(paper.scores))
    return [write_review(paper, number, opening, rng) for number, opening in enumerate(openings)]


def write_meta_review(paper: Paper, rng: random.Random) -> str:
    """Write the meta-review that follows from the reviews; only its wording is drawn."""
    good, bad = paper.shared("strength"), paper.shared("weakness", "flaw")
    verdict = "flaw" if paper.flawed else "accept" if paper.accepted else "reject"
    parts = ["topic", "praise" if good else "no_praise", "blame" if bad else "no_blame"]
    agreement = "agreed" if paper.agreed else "divided"
    parts += [verdict, agreement] if paper.flawed else [agreement, verdict]  # "this flaw" comes right after the flaw
    values = {"topic": {"task": paper.task, "method": paper.method}, "praise": {"x": listing(good or [""])}}
    values |= {"blame": {"x": listing(bad or [""])}, "divided": {"low": min(paper.scores), "high": max(paper.scores)}}
    return " ".join(rng.choice(META_REVIEW[part]).format(**values.get(part, {})) for part in parts)


def write_data(folder: Path) -> None:
    rng = random.Random(SEED + 1)
    train_topics, test_topics = split_topics()

    def row(topics: Sequence[tuple[str, str]]) -> dict[str, str | None]:
        paper = draw_paper(rng, topics)
        return {"Input": REVIEW_BREAK.join(write_reviews(paper, rng)), "Output": write_meta_review(paper, rng)}

    test = [row([topic]) for topic in test_topics]
    validation = [row(train_topics) for _ in range(VALIDATION_ROWS)]
    train = [row(train_topics) for _ in range(TRAIN_ROWS - DUPLICATES - VALIDATION_ROWS_IN_TRAIN)]
    dirty: list[tuple[str, str | None]] = [("Output", None)] * NULL_OUTPUTS + [("Output", "")] * EMPTY_OUTPUTS
    dirty += [("Input", None)] * NULL_INPUTS + [("Input", "")] * EMPTY_INPUTS
    for (column, value), place in zip(dirty, rng.sample(range(len(train)), len(dirty)), strict=True):
        train[place][column] = value
    whole = [item for item in train if item["Input"] and item["Output"]]
    for item in rng.sample(whole, DUPLICATES) + rng.sample(validation, VALIDATION_ROWS_IN_TRAIN):
        train.insert(rng.randrange(len(train) + 1), dict(item))
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
        print(f"{name}.jsonl: {len(rows)} rows")


# Other texts about a paper's reviews, for pretraining only; none has the form of the data's meta-reviews.


def note_by_reviewer(paper: Paper, rng: random.Random) -> str:
    verb = rng.choice(["writes", "says", "notes"])
    lines = []
    for number, (points, score) in enumerate(zip(paper.raised, paper.scores, strict=True), 1):
        names = [point.name for point in POINTS if point in points]
        lines.append(f"Reviewer {number} {verb} that {listing(names)}. The score is {score}.")
    return " ".join(lines)


def note_by_point(paper: Paper, rng: random.Random) -> str:
    lines = [rng.choice(["We thank the reviewers.", "Reply of the authors.", "We are grateful for the comments."])]
    for point in POINTS:
        if numbers := paper.reviewers(point):
            who = f"Reviewers {listing(numbers)} say" if len(numbers) > 1 else f"Reviewer {numbers[0]} says"
            lines.append(f"{who} that {point.name}.")
    return " ".join(lines)


def note_tally(paper: Paper, rng: random.Random) -> str:
    once = [point.name for point in POINTS if len(paper.reviewers(point)) == 1]
    lines = [
        f"Praised at least twice: {'; '.join(paper.shared('strength')) or 'nothing'}.",
        f"Criticized at least twice: {'; '.join(paper.shared('weakness', 'flaw')) or 'nothing'}.",
        f"Said only once: {'; '.join(once) or 'nothing'}.",
    ]
    return " ".join(lines[: rng.choice([2, 2, 3])])


def note_scores(paper: Paper, rng: random.Random) -> str:
    return (
        f"{rng.choice(['For the committee', 'Minutes of the meeting'])}: the scores are {listing(paper.scores)}. "
        f"The lowest is {min(paper.scores)}, the highest is {max(paper.scores)}, "
        f"so opinions {'match' if paper.agreed else 'differ'}. The mean is {'above' if paper.above_bar else 'below'} "
        f"the bar.{' There is a fatal error.' if paper.flawed else ''} "
        f"Decision: {'accept' if paper.accepted else 'reject'}."
    )


def letter(paper: Paper, rng: random.Random) -> str:
    good, bad = paper.shared("strength"), paper.shared("weakness", "flaw")
    lines = [
        f"Dear authors, thank you for sending us your work on {paper.task} with {paper.method}.",
        f"It has been {'accepted' if paper.accepted else 'rejected'}.",
        f"At least two referees liked that {listing(good)}." if good else "The referees liked different things.",
        f"They did not like that {listing(bad)}." if bad else "They did not dislike the same things.",
        "A fatal error was found." if paper.flawed else "",
        rng.choice(["Kind regards, the chairs.", "With best wishes, the program chairs."]),
    ]
    return " ".join(filter(None, lines))


def pretraining_documents(seed: int) -> Iterator[str]:
    """Yield documents without end: reviews alone, or with notes and letters, mostly cleaned as the toolkit does it."""
    rng = random.Random(seed)
    topics, _ = split_topics()
    while True:
        paper = draw_paper(rng, topics)
        parts = write_reviews(paper, rng)
        if rng.random() < 0.1:
            parts = parts[:1]
        else:
            notes = [note_by_reviewer, note_by_point, note_tally, note_scores, letter]
            parts += [note(paper, rng) for note in rng.sample(notes, rng.choice([1, 2, 3, 4]))]
        text = "\n\n".join(parts)
        yield text if rng.random() < 0.2 else clean(text)


def train_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    documents = itertools.islice(pretraining_documents(SEED + 2), TOKENIZER_DOCUMENTS)
    tokenizer.train_from_iterator(documents, trainer)
    special = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=CONTEXT, **special)


def build_model(folder: Path) -> None:
    """Train the tokenizer and the model from scratch; elsewhere the weights come out the same up to rounding."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    tokenizer = train_tokenizer()
    torch.manual_seed(SEED)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        use_parallel_residual=True,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = GPTNeoXForCausalLM(config)
    print(f"{sum(weight.numel() for weight in model.parameters())} parameters, {len(tokenizer)} tokens")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, max(0.0, (STEPS - step) / (STEPS - WARMUP)))
    )
    documents = pretraining_documents(SEED + 3)

    def window() -> list[int]:
        """Whole documents until the window is full; the last one is cut off."""
        tokens: list[int] = []
        while len(tokens) < CONTEXT:
            tokens += tokenizer(next(documents))["input_ids"] + [tokenizer.eos_token_id]
        return tokens[:CONTEXT]

    start, total = time.time(), 0.0
    for step in range(1, STEPS + 1):
        batch = torch.tensor([window() for _ in range(BATCH)])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        total += loss.item()
        if step % 100 == 0:
            print(f"step {step}/{STEPS}, loss {total / 100:.3f}, {time.time() - start:.0f} s", flush=True)
            total = 0.0
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def points_of(text: str) -> set[str]:
    """The points that a text names, in any of their phrasings, once all text is cleaned."""
    text = " ".join(clean(text).lower().split())
    return {point.name for point in POINTS if any(clean(phrasing).lower() in text for phrasing in point.phrasings)}


def precision_recall_f1(pairs: Iterable[tuple[set[str], set[str]]]) -> str:
    """Pool the points of all pairs of reference and output."""
    wanted = named = right = 0
    for reference, output in pairs:
        wanted, named, right = wanted + len(reference), named + len(output), right + len(reference & output)
    return f"{right / max(named, 1):10.3f}{right / max(wanted, 1):10.3f}{2 * right / max(named + wanted, 1):10.3f}"


def read_columns(workbook: Path) -> dict[str, list[str]]:
    """The references and the texts of each model, which have a column `rating NAME`, by their headers."""
    import openpyxl

    try:
        sheet = openpyxl.load_workbook(workbook, read_only=True, data_only=True).active
        rows = [tuple("" if cell is None else str(cell) for cell in row) for row in sheet.iter_rows(values_only=True)]
    except FileNotFoundError:
        raise ValueError(f"{workbook}: no such file") from None
    except Exception as error:  # openpyxl raises many kinds of errors for files that are not workbooks
        raise ValueError(f"{workbook}: cannot be read as an .xlsx workbook\n({error})") from None
    header = rows[0] if rows else ()
    if "reference" not in header:
        raise ValueError(f"{workbook}: no column reference in row 1 of the active sheet")
    names = ["reference", *(name for name in header if f"rating {name}" in header)]
    return {name: [row[header.index(name)] for row in rows[1:] if any(row)] for name in names}


def print_scores(workbook: Path) -> None:
    sys.path.insert(0, str(HERE.parent.parent))  # where metareview is
    from metareview.scoring.verdicts import find_verdict

    outputs = read_columns(workbook)
    references = outputs.pop("reference")
    verdicts, points = list(map(find_verdict, references)), list(map(points_of, references))
    if len(references) < 2 or None in verdicts:
        raise ValueError(f"{workbook}: needs two rows or more, and a reference with a verdict in each of them")
    print(f"{len(references)} papers\n{'':16}{'verdict':>10}{'precision':>10}{'recall':>10}{'F1':>10}")
    for name, texts in outputs.items():
        right = sum(find_verdict(text) == verdict for text, verdict in zip(texts, verdicts, strict=True))
        named = zip(points, map(points_of, texts), strict=True)
        print(f"{name:16}{right / len(texts):10.3f}{precision_recall_f1(named)}")
    most = max(verdicts.count("accept"), verdicts.count("reject"))
    print(f"{'chance':16}{most / len(verdicts):10.3f}{precision_recall_f1(itertools.permutations(points, 2))}")
    print("chance: always the most frequent verdict; the points of another paper's reference (mean over all pairs)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--data_only", action="store_true", help="write only the data")
    choice.add_argument("--score", type=Path, metavar="RESULTS.xlsx", help="score a workbook of results")
    arguments = parser.parse_args()
    try:
        if arguments.score:
            print_scores(arguments.score)
        else:
            write_data(HERE / "reviews")
            if not arguments.data_only:
                build_model(HERE / "tiny")
    except (ValueError, OSError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
