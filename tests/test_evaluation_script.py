"""Whole scripts: what evaluation.py puts into the workbook and prints, and the way from OpenReview to a meta-review."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import EVALUATE, PROCESS, PROCESSED, WEIGHTS, make_rows, read_record, run_script, run_to_end
from openpyxl import load_workbook
from safetensors.torch import load_file, save_file
from servers.openreview import make_reply
from workbooks import judge, make_workbook, read_rows

from metareview.data.cleaning import clean_text
from metareview.generation import writing
from metareview.generation.batches import generate
from metareview.generation.outputs import Output, read_outputs

NEW, OLD = "Shells.org/2024/Conference", "Shells.org/2021/Conference"


def make_variant(model: Path, folder: Path, noise: float, **record: object) -> None:
    """A copy of a model with other weights and another record, as another training would make it."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    generator, weights = torch.Generator().manual_seed(1), load_file(model / WEIGHTS)
    for weight in weights.values():
        weight += noise * torch.randn(weight.shape, generator=generator)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    (folder / "training_record.json").write_text(json.dumps(read_record(model) | record))


@pytest.fixture
def model(fine_tuned: Path) -> Path:
    return fine_tuned / "pythia_finetuned"


def test_the_workbook_has_what_is_printed_and_a_second_run_writes_no_text(
    fine_tuned: Path, model: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [["=note", "Fine: a proof, a table.<REVBREAK>Bad!", "A paper; fine."], [None, "No reference here. " * 90]]
    source = make_workbook(fine_tuned / "eval_examples.xlsx", ["mine", "review", "reference"], *rows, ["no review"])
    before, path = source.read_bytes(), fine_tuned / "eval_examples_results.xlsx"
    flags = ["--model", model, "--max_new_tokens", 20]
    done = run_script(EVALUATE, *flags, cwd=fine_tuned)
    printed, (first, second, third) = done.stdout, read_rows(path)
    assert source.read_bytes() == before  # the test cases stay clean
    assert list(first)[:6] == ["mine", "review", "reference", "preferred", "base", "rating base"]
    assert second["base words"] == len(second["base"].split()) and second["base ROUGE-L"] is None
    assert first["mine"] == "=note" and third["base"] is None
    assert "All models: the reviews of 1 of 2 cases are cut" in printed and "reading prompt 2 of 2" in done.stderr
    assert max(len(line) for line in printed.splitlines() if line.startswith("|")) <= 110
    line = next(line for line in printed.splitlines() if line.startswith(f"| {model.name} "))
    assert f"{first['finetuned ROUGE-L']:.3f}" in line.split("|")[4]  # the one case that has a reference
    runs = {row["model"]: row for row in read_rows(path, "runs")}
    assert list(runs) == [base.name, model.name, "lead", "reference"]
    assert runs[model.name].items() >= {"data": "eval_examples.xlsx", "learning rate": 5e-3, "epochs": 2}.items()

    monkeypatch.setattr(writing, "load_model", None)  # calling it would fail
    printed = run_to_end(EVALUATE, *flags, "--bertscore_model", base, cwd=fine_tuned)
    assert "All models: 2 of 2 texts were in eval_examples_results_outputs.jsonl already." in printed
    scored, runs = read_rows(path), {row["model"]: row for row in read_rows(path, "runs")}
    assert all(row.items() <= again.items() for row, again in zip([first, second, third], scored, strict=True))
    assert 0 < scored[0]["finetuned BERTScore"] <= 1 and scored[1]["finetuned BERTScore"] is None
    assert runs[model.name]["BERTScore"] == scored[0]["finetuned BERTScore"] and runs["reference"]["BERTScore"] is None
    assert 0 < runs["lead"]["BERTScore"] <= 1 and runs["lead"]["encoder"] == base.name and len(runs) == 4
    summary, card = str(read_rows(path, "summary")), (model / "README.md").read_text()
    assert "| BERTScore " in printed and all(f"BERTScore: F1 by {base.name}." in text for text in (summary, card))


def test_the_loop_of_a_user(model: Path, base: Path, tmp_path: Path) -> None:
    """Several models side by side; judge, leave one out, bring it back, judge blind: all is there."""
    cases = [[f"Paper {n}", row["Input"], row["Output"]] for n, row in enumerate(make_rows(12, seed=3))]
    make_workbook(tmp_path / "eval_examples.xlsx", ["case", "review", "reference"], *cases)
    same = {"validation_losses": [[0.0, 6.0], [1.0, 3.0], [2.0, 2.5]], "group": "m_lr1e-3"}
    for name, noise, seed in (("m_lr1e-3", 0.0, 42), ("m_lr1e-3_seed7", 0.02, 7)):
        make_variant(model, tmp_path / "models" / name, noise, settings={"seed": seed}, **same)
    other = {"keep": "a-zA-Z0-9.,", "finished": "2030-01-01", "settings": {"learning_rate": 1e-4}}
    make_variant(model, tmp_path / "models" / "m_lr1e-4", 1.0, **other)
    results, blind = tmp_path / "eval_examples_results.xlsx", tmp_path / "eval_examples_results_blind.xlsx"

    def evaluate(*flags: object) -> str:
        result = run_script(EVALUATE, "--max_new_tokens", 12, "--batch_size", 12, *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr + result.stdout
        assert result.stderr.count("100%") <= 4 and "Loading" not in result.stderr  # a bar for each model, no others
        return result.stdout

    assert "| m_lr1e-4 " in evaluate() and "lr1e-3" not in read_rows(results)[0]  # the newest alone
    said = evaluate("--models", "models/*")
    assert "m_lr1e-4: 12 of 12 texts were in" in said and "m_lr1e-3: 12 of 12" not in said
    assert "m_lr1e-3 (2 seeds)" in said and "m_lr1e-4: another PROMPT, KEEP, " in said
    texts, workbook = read_rows(results), load_workbook(results)
    judge(workbook.active, 2, "rating", 4, "lr1e-4")
    judge(workbook.active, 3, "rating", 9, "lr1e-4")
    judge(workbook.active, 2, "preferred", "lr1e-4")
    workbook.save(results)

    said = evaluate("--models", "models/m_lr1e-3", "models/m_lr1e-3_seed7")
    assert "Not all judgments in the rows 3 count" in said and "rating lr1e-4" not in read_rows(results)[0]
    said = evaluate("--models", "models/*", "--blind")
    assert "m_lr1e-4: preferred 1 of 1, mean rating 4.0 (rated 1)" in said and str(blind.name) in said
    back = read_rows(results)
    assert back[:2] == [texts[0] | {"rating lr1e-4": 4, "preferred": "lr1e-4"}, texts[1] | {"rating lr1e-4": 9}]
    assert back[2:] == texts[2:]
    runs = [row for row in read_rows(results, "runs") if row["model"] == "m_lr1e-4"]
    assert [row["mean rating"] for row in runs] == [None, 4]  # alone, its texts were scored with their points
    card = (tmp_path / "models" / "m_lr1e-3" / "README.md").read_text()
    assert card.count("## Scores on 12 cases of `eval_examples.xlsx`") == 1 and "m_lr1e-4" not in card

    copy = load_workbook(blind)
    judge(copy.active, 13, "preferred", "B")
    chosen = read_rows(blind)[11]["B"]
    copy.save(blind)
    said = evaluate("--unblind")
    judged = read_rows(results)
    assert judged[:11] == back[:11] and clean_text(judged[11][judged[11]["preferred"]]) == chosen
    assert f"{judged[11]['preferred']}: preferred " in said


def test_an_interrupted_run_writes_only_what_is_missing(fine_tuned: Path, model: Path, monkeypatch) -> None:
    generated = []

    def generate_and_count(*arguments: object) -> Iterator[tuple[int, Output]]:
        for index, output in generate(*arguments):
            generated.append(output)
            yield index, output
            if len(generated) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(writing, "generate", generate_and_count)
    flags = ["--model", model, "--num_examples", 5, "--max_new_tokens", 12, "--batch_size", 2, "--output"]
    assert run_script(EVALUATE, *flags, "broken.xlsx", cwd=fine_tuned).stderr.endswith("failed: interrupted\n")
    assert not (fine_tuned / "broken.xlsx").exists()
    run_to_end(EVALUATE, *flags, "broken.xlsx", cwd=fine_tuned)
    assert len(generated) == 3 + 2 + 5  # three of five texts of the base were there
    run_to_end(EVALUATE, *flags, "complete.xlsx", cwd=fine_tuned)
    assert read_rows(fine_tuned / "broken.xlsx") == read_rows(fine_tuned / "complete.xlsx")


def test_rows_of_the_test_split_and_texts_of_another_prompt_or_decoding_are_added(
    fine_tuned: Path, model: Path
) -> None:
    """To a workbook of their own, and to its log; what is not drawn again keeps its row and does not count."""
    drawn = []
    for flags in (["--num_examples", 2], ["--num_examples", 4, "--seed", 7, "--prompt", "instruction"],
                  ["--num_examples", 2, "--no_repeat_ngram", 0]):  # fmt: skip
        run_to_end(EVALUATE, "--model", model, "--max_new_tokens", 5, *flags, cwd=fine_tuned)
        rows = read_rows(fine_tuned / "eval_test.xlsx")
        drawn.append({row["row"] for row in rows})
    assert all(row["reference"] and row["review"].count("<REVBREAK>") == 2 for row in rows)
    assert len(drawn[0]) == 2 and drawn[0] < drawn[1] == drawn[2] and len(rows) == len(drawn[1])
    written = read_outputs(fine_tuned / "eval_test_outputs.jsonl")
    assert len(written) == 2 * (2 + 4 + 2)  # none taken from another
    runs = [row for row in read_rows(fine_tuned / "eval_test.xlsx", "runs") if row["model"] == model.name]
    assert [run["cases"] for run in runs] == [2, 4, 2]
    assert [run["prompt"] for run in runs] == ["plain", "instruction", "plain"]
    assert ["no repeated 4-gram" in run["decoding"] for run in runs] == [True, True, False]


def test_drafts_for_reviews_of_the_users_own(refused, fine_tuned: Path, model: Path, tmp_path: Path) -> None:
    """From files and from standard input; a draft leaves nothing behind, and one that is saved is not written again."""
    reviews = make_rows(1, seed=5)[0]["Input"].split(" <REVBREAK> ")
    files, before = [tmp_path / f"{name}.txt" for name in "abc"], sorted(fine_tuned.iterdir())
    for file, review in zip(files, reviews, strict=True):
        file.write_text(review)
    path = make_workbook(tmp_path / "mine.xlsx", ["review"])

    def draft(*flags: object, given: str = "") -> str:
        printed = run_to_end(EVALUATE, "--model", model, *flags, cwd=fine_tuned, given=given)
        return printed.partition("check it against the reviews:\n\n")[2]

    said = draft("--reviews", *files)
    assert len(said.split()) > 3 and sorted(fine_tuned.iterdir()) == before
    assert said == draft("--reviews", "-", "--save", "--test_cases", path, given="\n---\n".join(reviews))
    printed = run_to_end(EVALUATE, "--model", model, "--test_cases", path, cwd=fine_tuned)
    [row] = read_rows(tmp_path / "mine_results.xlsx")
    assert f"{model.name}: 1 of 1 texts were in" in printed
    assert row["review"] == "\n<REVBREAK>\n".join(reviews) and row["finetuned"] in said
    files[0].write_text("Только кириллица.")
    assert "cleaning leaves nothing" in refused(EVALUATE, "--model", model, "--reviews", files[0])


def test_from_a_venue_to_a_draft(openreview, refused, model: Path, base: Path, tmp_path: Path, monkeypatch) -> None:
    flags = ["--model", base, "--max_summary_tokens", 100, "--venue", NEW, OLD, "--test_year"]
    for number, row in enumerate(make_rows(60)):
        version, venue = (2, NEW) if number % 3 == 0 else (1, OLD)
        reviews = row["Input"].split(" <REVBREAK> ")
        forms = [{"review": review, "rating": "8: good", "confidence": 4} for review in reviews]
        replies = [make_reply(version, "Official_Review", form) for form in forms]
        replies.append(make_reply(version, "Meta_Review", {"metareview": row["Output"]}, by="Area_Chair_1"))
        openreview.add_paper(version, venue, f"forum{number:02}", replies, title=f"Paper {number}")
    told = refused(PROCESS, *flags, 2031)
    assert "no paper is of --test_year 2031, only of 2021, 2024" in told
    printed = run_to_end(PROCESS, *flags, 2024, cwd=tmp_path)
    draft = run_to_end(EVALUATE, "--model", model, "--forum", "https://openreview.net/forum?id=forum00", cwd=tmp_path)
    assert re.search(r"^\| test +\| +20 \|", printed, re.MULTILINE)  # all of 2024, and nothing else
    record = json.loads((tmp_path / PROCESSED / "processing_record.json").read_text())
    assert record["test_year"] == 2024 and record["dataset_name"].count("https://openreview.net/group?id=Shells") == 2
    for words in (f"Paper 0 ({NEW})", "Ratings: 8 8 8 (mean 8.0)\nConfidences: 4 4 4", f"by a model ({model.name})",
                  f"Written by a person:\n\n{make_rows(1)[0]['Output']}", "| ROUGE-L ", "| lead "):  # fmt: skip
        assert words in draft, (words, draft)
    monkeypatch.setitem(sys.modules, "openreview", None)  # as if it were not installed
    assert "pip install openreview-py" in refused(EVALUATE, "--model", model, "--forum", "abc")
