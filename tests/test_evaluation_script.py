"""Whole scripts: what evaluation.py puts into the workbook and prints, and the way from OpenReview to a meta-review."""

import json
import shutil
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch
from conftest import FINE_TUNING, make_rows, run_script
from huggingface_hub import ModelCard
from matplotlib.figure import Figure
from openpyxl import Workbook, load_workbook
from openpyxl.drawing.image import Image
from openpyxl.styles import PatternFill
from safetensors.torch import load_file, save_file
from servers.openreview import OpenReview, make_reply
from workbooks import make_workbook

import evaluation
from metareview.data.prompts import PROMPTS
from metareview.generation import writing
from metareview.generation.batches import generate
from metareview.generation.outputs import Output, read_outputs
from metareview.workbook.cells import read_header

PROCESS, TUNE, EVALUATE = "processing_meta_review.py", "fine_tune.py", "evaluation.py"
NEW, OLD = "Shells.org/2024/Conference", "Shells.org/2021/Conference"


def cells(path: Path) -> list[dict]:
    header, *rows = load_workbook(path).active.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def find_model(folder: Path) -> Path:
    """The model that fine_tune.py has put into a folder."""
    return next(record.parent for record in folder.rglob("training_record.json"))


def make_variant(model: Path, folder: Path, noise: float, **record: object) -> Path:
    """A copy of a model with other weights and another record, as another training would make it."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    generator = torch.Generator().manual_seed(1)
    weights = {name: tensor + noise * torch.randn(tensor.shape, generator=generator)
               for name, tensor in load_file(model / "model.safetensors").items()}  # fmt: skip
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    before = json.loads((model / "training_record.json").read_text())
    (folder / "training_record.json").write_text(json.dumps(before | record))
    return folder


@pytest.fixture(scope="module")
def model(fine_tuned: Path) -> Path:
    return find_model(fine_tuned)


@pytest.fixture(scope="module")
def evaluated(fine_tuned: Path, model: Path) -> Path:
    """The workbook with results of cases in a workbook with columns of the user's."""
    path = make_workbook(
        fine_tuned / "eval_examples.xlsx",
        ["mine", "review", "reference", "formula"],
        ["=note", "Fine: a proof, a table.<REVBREAK>Bad!", "A paper; fine.", "=1+1"],
        [None, "No reference here. " * 90, None, None],
        ["no review", None, "nothing", None],
    )
    before = path.read_bytes()
    result = run_script(EVALUATE, "--model", model, "--max_new_tokens", 20, cwd=fine_tuned)
    assert result.returncode == 0, result.stderr
    assert path.read_bytes() == before  # the test cases stay clean
    (fine_tuned / "evaluation_stdout.txt").write_text(result.stdout)
    return fine_tuned / "eval_examples_results.xlsx"


def test_results_stand_beside_the_users_columns(evaluated: Path, model: Path, base: Path) -> None:
    first, second, third = cells(evaluated)
    assert list(first)[:8] == ["mine", "review", "reference", "formula", base.name, model.name, "preferred",
                               f"rating {base.name}"]  # fmt: skip
    assert first["review"] == "Fine: a proof, a table.<REVBREAK>Bad!" and first["formula"] == "=1+1"
    assert isinstance(first[base.name], str) and isinstance(first[model.name], str)
    assert 0 <= first[f"{model.name} ROUGE-L"] <= 1 and first[f"{base.name} ended"] in ("yes", "no")
    assert second[f"{base.name} ROUGE-L"] is None
    assert second[f"{base.name} words"] == len(second[base.name].split())
    assert third[base.name] is None
    printed = (evaluated.parent / "evaluation_stdout.txt").read_text()
    assert "the reviews of 1 of 2 cases are cut to fit" in printed
    assert max(len(line) for line in printed.splitlines() if line.startswith("|")) <= 110
    line = next(line for line in printed.splitlines() if line.startswith(f"| {model.name} "))
    assert f"{first[f'{model.name} ROUGE-L']:.3f}" in line.split("|")[4]  # the one case that has a reference
    assert f"Whether {model.name} is better than its base {base.name}, lead or another paper's" in printed
    assert "cannot be told: 1 case with" in printed


def test_references_in_another_script_have_no_score_and_it_is_said(model: Path, tmp_path: Path) -> None:
    """Else two equal texts in Chinese would have a ROUGE of 0, and a verdict."""
    rows = [["A paper on sorting", "论文写得很清楚"], ["A paper on routing", "Статья о маршрутах"]]
    make_workbook(tmp_path / "a.xlsx", ["review", "reference"], *rows)
    flags = ["--model", model, "--max_new_tokens", 5, "--test_cases", "a.xlsx"]
    result = run_script(EVALUATE, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    line = "ROUGE reads Latin letters and digits alone: no score in the rows 2, 3."
    assert line in result.stdout and "cannot be told: 0 cases with a ROUGE score" in result.stdout
    assert "ROUGE-L" not in next(line for line in result.stdout.splitlines() if line.startswith("|"))
    assert all(row[f"{model.name} ROUGE-L"] is None for row in cells(tmp_path / "a_results.xlsx"))
    summary = load_workbook(tmp_path / "a_results.xlsx")["summary"]
    assert line in [row[0] for row in summary.iter_rows(values_only=True)]


def test_summary_and_runs_say_what_was_run(evaluated: Path, model: Path, base: Path) -> None:
    workbook = load_workbook(evaluated)
    assert workbook.sheetnames[1:] == ["judgements", "summary", "runs"]
    header, *runs = workbook["runs"].iter_rows(values_only=True)
    runs = {row[0]: dict(zip(header, row, strict=True)) for row in runs}
    assert list(runs) == [base.name, model.name, "lead", "reference"]
    run = runs[model.name]
    assert run["base"] == base.name and run["prompt"] == "plain" and run["cases"] == 2
    assert run["learning rate"] == 5e-3 and run["seed"] == 42 and run["epochs"] == 2
    assert run["decoding"].startswith("greedy, 20 tokens, ") and run["data"] == "eval_examples.xlsx"
    assert runs[base.name]["learning rate"] is None and runs["lead"]["decoding"] is None
    shown = [row for row in workbook["summary"].iter_rows(values_only=True) if row[0] in ("model", *runs)]
    for table, titles in (shown[:5], ("ROUGE-L", "words")), (shown[5:], ("repetition", "terms in no review")):
        rows = {row[0]: row for row in table}
        for title in titles:
            for system in runs:
                assert rows[system][rows["model"].index(title)] == runs[system][title]
    assert workbook["summary"]._charts


def test_cases_of_a_csv_file_get_a_workbook(evaluated: Path, model: Path, base: Path, tmp_path: Path) -> None:
    """As Excel on Windows saves them; a case that is added later is added to the results."""
    path = tmp_path / "mine.csv"
    path.write_bytes('review;reference;mine\n"Naïve\n---\nBad!";A paper;x\n'.encode("cp1252"))
    flags = ["--model", model, "--max_new_tokens", 8, "--test_cases", path]
    refused = run_script(EVALUATE, *flags, cwd=tmp_path)
    assert refused.returncode == 2 and "--encoding cp1252" in refused.stderr
    for number in (1, 2):
        result = run_script(EVALUATE, *flags, "--encoding", "cp1252", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        rows = cells(tmp_path / "mine_results.xlsx")
        assert [row["mine"] for row in rows] == ["x", "y"][:number]
        assert all(isinstance(row[name], str) for row in rows for name in (base.name, model.name))
        path.write_bytes(path.read_bytes() + "Très bien;;y\n".encode("cp1252"))


def test_running_again_writes_no_text_anew_and_loads_no_model(
    evaluated: Path, model: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    before = cells(evaluated)
    monkeypatch.chdir(evaluated.parent)
    monkeypatch.setattr(writing, "load_model", None)  # calling it would fail
    monkeypatch.setattr("sys.argv", ["evaluation.py", "--models", str(model), "--max_new_tokens", "20"])
    evaluation.main()
    assert f"{base.name}: 2 of 2 texts are in eval_examples_results_outputs.jsonl already." in capsys.readouterr().out
    assert cells(evaluated) == before
    assert load_workbook(evaluated)["runs"].max_row == 5  # the rows of the same test are replaced


def test_results_go_into_the_test_cases_if_asked(evaluated: Path, model: Path) -> None:
    shutil.copy(evaluated.parent / "eval_examples.xlsx", evaluated.parent / "own.xlsx")
    shutil.copy(evaluated.with_name("eval_examples_results_outputs.jsonl"), evaluated.with_name("own_outputs.jsonl"))
    flags = ["--test_cases", "own.xlsx", "--output", "own.xlsx", "--max_new_tokens", 20, "--model", model]
    for _ in range(2):
        result = run_script(EVALUATE, *flags, cwd=evaluated.parent)
        assert result.returncode == 0, result.stderr
        assert cells(evaluated.parent / "own.xlsx") == cells(evaluated)


def test_the_loop_of_a_user(fine_tuned: Path, model: Path, base: Path, tmp_path: Path) -> None:
    """Several models side by side; judge, remove one, add another, bring the first back; blind; all is there."""
    rows = [["case", "review", "reference"]]
    rows += [[f"Paper {n}", row["Input"], row["Output"]] for n, row in enumerate(make_rows(12, seed=3))]
    make_workbook(tmp_path / "eval_examples.xlsx", *rows)
    losses = [[0.0, 6.0], [1.0, 3.0], [2.0, 2.5]]
    make_variant(model, tmp_path / "models" / "m_lr1e-3", 0.0, validation_losses=losses, group="m_lr1e-3")
    make_variant(model, tmp_path / "models" / "m_lr1e-3_seed7", 0.02, validation_losses=losses, group="m_lr1e-3")
    make_variant(model, tmp_path / "models" / "m_lr1e-4", 1.0, keep="a-zA-Z0-9.,", finished="2030-01-01")
    (tmp_path / "models" / "unfinished").mkdir()

    def evaluate(*flags: object) -> str:
        result = run_script(EVALUATE, "--max_new_tokens", 12, "--batch_size", 12, *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr + result.stdout
        assert result.stderr.count("100%") <= 4 and "Loading" not in result.stderr  # a bar for each model, no others
        return result.stdout

    said = evaluate()  # the newest alone
    assert "| m_lr1e-4 " in said and "m_lr1e-3" not in said
    said = evaluate("--models", "models/*")
    assert "Skipped, no finished model: models/unfinished" in said
    assert "m_lr1e-4: 12 of 12 texts are in" in said and "m_lr1e-3: 12 of 12" not in said
    assert "m_lr1e-3 (2 seeds)" in said
    assert "has the prompt, cleaning, length and precision of m_lr1e-3; those of m_lr1e-4 differ." in said
    results = tmp_path / "eval_examples_results.xlsx"
    texts = cells(results)
    workbook = load_workbook(results)
    sheet, there = workbook.active, {cell.value: cell.column for cell in workbook.active[1]}
    sheet.cell(2, there["rating m_lr1e-4"]).value = 4
    sheet.cell(3, there["rating m_lr1e-4"]).value = 9
    sheet.cell(2, there["preferred"]).value = "m_lr1e-4"
    sheet.cell(4, there["comment"]).value = "mine"
    names = [row[0].value for row in workbook["summary"].iter_rows() if row[0].value]
    assert "m_lr1e-3 (2 seeds)" in names and len(workbook["summary"]._charts) == 2
    workbook.save(results)

    said = evaluate("--models", "models/m_lr1e-3", "models/m_lr1e-3_seed7")
    assert "not a number from 1 to 5 does not count: rows 3." in said and "that are not in the sheet now: 3" in said
    assert "rating m_lr1e-4" not in cells(results)[0] and cells(results)[2]["comment"] == "mine"
    said = evaluate("--models", "models/*")
    assert "m_lr1e-4: preferred 1, mean rating 4.0 (rated 1)" in said
    back = cells(results)
    judged = {"rating m_lr1e-4": 4, "preferred": "m_lr1e-4"}
    assert back[0] == texts[0] | judged and back[1] == texts[1] | {"rating m_lr1e-4": 9}
    assert back[2] == texts[2] | {"comment": "mine"} and back[3:] == texts[3:]
    header, *runs = load_workbook(results)["runs"].iter_rows(values_only=True)
    rated = {row[0]: row[header.index("mean rating")] for row in runs}
    assert rated == {name: 4 if name == "m_lr1e-4" else None for name in rated} and len(rated) == 6
    card = ModelCard((tmp_path / "models" / "m_lr1e-3" / "README.md").read_text())
    assert card.text.count("## Scores on 12 cases of `eval_examples.xlsx`") == 1
    assert "m_lr1e-3 is " in card.text and "m_lr1e-4" not in card.text


def test_an_interrupted_run_writes_only_what_is_missing(
    evaluated: Path, model: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, generated = evaluated.parent, []

    def counted(*arguments: object) -> Iterator[tuple[int, Output]]:
        for index, output in generate(*arguments):
            generated.append(output)
            yield index, output
            if len(generated) == stop_after:
                raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    monkeypatch.setattr(writing, "generate", counted)
    flags = ["--num_examples", "5", "--max_new_tokens", "12", "--batch_size", "2", "--model", str(model)]
    monkeypatch.setattr("sys.argv", ["evaluation.py", *flags, "--output", "broken.xlsx"])
    stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        evaluation.main()
    assert not (folder / "broken.xlsx").exists()
    log = folder / "broken_outputs.jsonl"
    assert [output.text for output in read_outputs(log).values()] == [output.text for output in generated]
    log.write_bytes(log.read_bytes()[:-30])  # the third line is cut off, as by kill -9
    stop_after = 0
    evaluation.main()
    assert len(generated) == 3 + 3 + 5  # two of five texts of the base stood there whole
    monkeypatch.setattr("sys.argv", ["evaluation.py", *flags, "--output", "whole.xlsx"])
    evaluation.main()
    assert cells(folder / "broken.xlsx") == cells(folder / "whole.xlsx")
    lines = [json.loads(line) for line in (folder / "whole_outputs.jsonl").read_text().splitlines()]
    assert [line["model"] for line in lines] == [str(base)] * 5 + [str(model)] * 5


def test_verdicts_are_held_against_the_decisions_of_the_sheet(
    evaluated: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = evaluated.parent, Output("R1 likes the GAN of 97 lines. I recommend acceptance", True, 9)
    rows = [["review", "reference", "Decision"], ["good", "It is a paper.", "Accept (Poster)"]]
    make_workbook(folder / "decided.xlsx", *rows, ["bad", "I recommend acceptance.", "Reject"])
    monkeypatch.chdir(folder)
    monkeypatch.setattr(writing, "generate", lambda model, tokenizer, ids, *_: ((i, said) for i in range(len(ids))))
    monkeypatch.setattr("sys.argv", ["evaluation.py", "--test_cases", "decided.xlsx", "--models", str(model)])
    evaluation.main()
    for row in cells(folder / "decided_results.xlsx"):
        assert row[f"{model.name} verdict"] == "accept" and row[f"{model.name} terms in no review"] == "GAN, 97"
    header, *runs = load_workbook(folder / "decided_results.xlsx")["runs"].iter_rows(values_only=True)
    runs = {run[0]: dict(zip(header, run, strict=True)) for run in runs}
    figures = {name: (run["names a verdict"], run["right verdict"]) for name, run in runs.items()}
    assert figures[model.name] == (1, 0.5) and figures["reference"] == (0.5, 0)


def test_texts_of_another_setting_are_not_taken(evaluated: Path, model: Path) -> None:
    folder = evaluated.parent
    flags = ["--num_examples", 2, "--output", "settings.xlsx", "--model", model]
    other = ["--max_new_tokens", 6, "--no_repeat_ngram", 0]
    drawn = ["--max_new_tokens", 5, "--temperature", 1.5]
    for more in (["--max_new_tokens", 5], other, ["--max_new_tokens", 5, "--prompt", "word_limit"], drawn):
        result = run_script(EVALUATE, *flags, *more, cwd=folder)
        assert result.returncode == 0 and "already" not in result.stdout, result.stderr
    lines = (folder / "settings_outputs.jsonl").read_text().splitlines()
    assert len({json.loads(line)["key"] for line in lines}) == 16
    header, *runs = load_workbook(folder / "settings.xlsx")["runs"].iter_rows(values_only=True)
    prompts = [run[header.index("prompt")] for run in runs if run[0] == model.name]
    assert prompts == ["plain", "plain", "word_limit", "plain"]
    decodings = [run[header.index("decoding")] for run in runs if run[0] == model.name]
    assert ["no repeated 4-gram" in decoding for decoding in decodings] == [True, False, True, True]
    assert decodings[3].startswith("sampled at temperature 1.5 with seed 42")


def test_the_prompt_is_what_the_models_read(evaluated: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = []

    def read(model: object, tokenizer: object, ids: list[list[int]], *_: object) -> Iterator[tuple[int, Output]]:
        prompts.extend(tokenizer.batch_decode(ids))
        yield from ((index, Output("text", True, 1)) for index in range(len(ids)))

    monkeypatch.chdir(evaluated.parent)
    monkeypatch.setattr(writing, "generate", read)
    for number, (name, template) in enumerate(PROMPTS.items()):
        flags = ["--num_examples", "1", "--output", f"prompt{number}.xlsx", "--prompt", name, "--model", str(model)]
        monkeypatch.setattr("sys.argv", ["evaluation.py", *flags])
        evaluation.main()
        before, after = template.split("{review}")
        assert all(prompt.startswith(before) and prompt.endswith(after) for prompt in prompts) and len(prompts) == 2
        prompts.clear()


def test_blind_and_unblind(evaluated: Path, model: Path, base: Path) -> None:
    folder = evaluated.parent
    flags = ["--num_examples", 4, "--max_new_tokens", 8, "--output", "judge.xlsx", "--model", model]
    result = run_script(EVALUATE, *flags, "--blind", cwd=folder)
    assert result.returncode == 0, result.stderr
    copy = load_workbook(folder / "judge_blind.xlsx")
    there = read_header(copy.active)
    assert list(there) == ["row", "review", "reference", "a", "b", "preferred", "rating a", "rating b", "comment"]
    rows = cells(folder / "judge.xlsx")
    first = [
        next(name for name in (base.name, model.name) if row[name] == copy.active.cell(number, there["a"]).value)
        for number, row in enumerate(rows, start=2)
    ]
    for row in range(2, 6):
        copy.active.cell(row, there["preferred"]).value = "A"
    copy.save(folder / "judge_blind.xlsx")
    again = run_script(EVALUATE, *flags, "--blind", cwd=folder)  # there are judgements in it
    assert again.returncode == 2 and "judge_blind.xlsx' has judgments" in again.stderr
    result = run_script(EVALUATE, *flags, "--unblind", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert f"{base.name}: preferred {first.count(base.name)}\n" in result.stdout
    judged = cells(folder / "judge.xlsx")
    assert [row["preferred"] for row in judged] == first
    assert [row | {"preferred": None} for row in judged] == rows


def test_rows_of_the_test_split_go_to_a_workbook_of_their_own(evaluated: Path, model: Path) -> None:
    folder = evaluated.parent
    before = evaluated.read_bytes()
    flags = ["--max_new_tokens", 20, "--model", model]
    result = run_script(EVALUATE, *flags, "--num_examples", 3, cwd=folder)
    assert result.returncode == 0, result.stderr
    rows = cells(folder / "eval_test.xlsx")
    assert len(rows) == 3 and all(row["reference"] and row["review"].count("<REVBREAK>") == 2 for row in rows)
    assert evaluated.read_bytes() == before
    workbook = load_workbook(folder / "eval_test.xlsx")
    workbook.active.cell(2, workbook.active.max_column + 1).value = "a remark of mine"
    workbook.save(folder / "eval_test.xlsx")
    result = run_script(EVALUATE, *flags, "--num_examples", 5, "--seed", 7, cwd=folder)
    assert result.returncode == 0, result.stderr
    sheet = load_workbook(folder / "eval_test.xlsx").active
    assert "a remark of mine" in [cell.value for cell in sheet[2]]
    drawn = [row["row"] for row in cells(folder / "eval_test.xlsx")]
    assert drawn[:3] == [row["row"] for row in rows] and 5 <= len(drawn) <= 8 and len(set(drawn)) == len(drawn)
    assert f"Cases added at the end of eval_test.xlsx: {len(drawn) - 3}" in result.stdout
    header, *runs = load_workbook(folder / "eval_test.xlsx")["runs"].iter_rows(values_only=True)
    assert sorted({run[header.index("cases")] for run in runs}) == [3, len(drawn)]


def test_cases_of_the_users_in_the_output_stay_and_are_evaluated_too(evaluated: Path, model: Path) -> None:
    folder = evaluated.parent
    make_workbook(folder / "other.xlsx", ["review"], ["a case of mine"])
    flags = ["--model", model, "--num_examples", 2, "--max_new_tokens", 5, "--output", "other.xlsx"]
    result = run_script(EVALUATE, *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    rows = cells(folder / "other.xlsx")
    assert [row["row"] is None for row in rows] == [True, False, False] and rows[0]["review"] == "a case of mine"
    assert all(row[model.name] is not None for row in rows)


def test_what_a_person_made_of_the_sheet_survives(
    evaluated: Path, model: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged cells, hidden columns, a column without a header, widths, heights, colours; edits made meanwhile."""
    path = evaluated.parent / "mine.xlsx"
    workbook = Workbook()
    sheet = workbook.active
    for row in (["note", "review", "reference"], ["see below", "Fine.", "Fine."], ["more", "Bad!", None]):
        sheet.append(row)
    sheet["E3"], sheet["A1"].fill = "without a header", PatternFill("solid", fgColor="FF0000")
    sheet.merge_cells("A2:A3")
    sheet.column_dimensions["A"].width, sheet.column_dimensions["B"].hidden = 41, True
    sheet.row_dimensions[2].height = 77
    picture = BytesIO()
    Figure(figsize=(1, 1)).savefig(picture, format="png")
    sheet.add_image(Image(picture), "F9")
    workbook.save(path)

    def meanwhile(variant: object, reviews: list, *_: object) -> list[Output]:
        edited = load_workbook(path)
        edited.active["E2"] = f"edited while {variant.name} wrote"
        edited.save(path)
        return [Output("text", True, 1)] * len(reviews)

    monkeypatch.chdir(evaluated.parent)
    monkeypatch.setattr(evaluation, "write_summaries", meanwhile)
    flags = ["--test_cases", "mine.xlsx", "--output", "mine.xlsx", "--model", str(model)]
    monkeypatch.setattr("sys.argv", ["evaluation.py", *flags])
    evaluation.main()
    assert load_workbook(path).active["E2"].value.startswith("edited while")  # what was saved meanwhile stays
    (written,) = evaluated.parent.glob("mine_*.xlsx")
    sheet = load_workbook(written).active
    assert sheet["E3"].value == "without a header" and sheet["F1"].value == base.name and sheet["F2"].value == "text"
    assert sheet["A1"].fill.fgColor.rgb.endswith("FF0000") and str(sheet.merged_cells) == "A2:A3"
    assert sheet.column_dimensions["A"].width == 41 and sheet.column_dimensions["B"].hidden
    assert sheet.row_dimensions[2].height == 77 and len(sheet._images) == 1


def test_the_loop_that_users_live_in(processed: Path, base: Path, tmp_path: Path) -> None:
    """Edit a constant, train, again; compare all in one sheet; judge, also blind; a model leaves and comes back."""
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(processed / name, tmp_path / name)
    second = tmp_path / "second"
    shutil.copytree(base, second)
    quick = ["--max_new_tokens", 8, "--evaluations_per_epoch", 1, "--lr", "1e-3", "--epochs", 1]
    variants = [[], ["--lr", "1e-4"], ["--lr", "1e-2"], ["--epochs", 2], ["--seed", 7], ["--model", "second"]]
    for flags in variants:
        done = run_script(TUNE, *quick, *flags, cwd=tmp_path)
        assert done.returncode == 0 and "A new run of " in done.stdout, done.stderr
    models = sorted(path.name for path in (tmp_path / "models").glob("[!.]*"))
    assert len(models) == len(variants)

    def run_evaluation(*flags: object) -> str:
        done = run_script(EVALUATE, "--num_examples", 8, *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run_evaluation("--models", "models/*")
    path = tmp_path / "eval_test.xlsx"
    assert {*models, base.name, "second"} <= set(cells(path)[0])
    runs = [row[0] for row in load_workbook(path)["runs"].iter_rows(min_row=2, values_only=True)]
    assert sorted(runs) == sorted([*models, base.name, "second", "lead", "reference"])
    seeds = [row[0] for row in load_workbook(path)["summary"].iter_rows(values_only=True)]
    assert any(str(name).endswith("(2 seeds)") for name in seeds)

    judged, others = models[0], models[1:]
    workbook = load_workbook(path)
    header = [cell.value for cell in workbook.active[1]]
    workbook.active.cell(2, header.index(f"rating {judged}") + 1).value = 4
    workbook.save(path)
    said = run_evaluation("--models", *(f"models/{name}" for name in others))
    assert f"rating {judged}" not in cells(path)[0] and said.count("8 of 8 texts are in") == len(others) + 2
    run_evaluation("--models", "models/*")
    assert cells(path)[0][f"rating {judged}"] == 4
    runs = load_workbook(path)["runs"]
    titles = [cell.value for cell in runs[1]]
    ratings = {row[0]: row[titles.index("mean rating")] for row in runs.iter_rows(min_row=2, values_only=True)}
    assert ratings[judged] == 4

    run_evaluation("--models", "models/*", "--blind")
    blind = load_workbook(tmp_path / "eval_test_blind.xlsx")
    names = [cell.value for cell in blind.active[1]]
    blind.active.cell(3, names.index("preferred") + 1).value = "B"
    text = blind.active.cell(3, names.index("B") + 1).value
    blind.save(tmp_path / "eval_test_blind.xlsx")
    run_evaluation("--unblind")
    row = cells(path)[1]
    assert row[row["preferred"]] == text


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenReview]:
    """A server that the client in this process talks to, as a guest."""
    with OpenReview() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        (PROCESS, ["--venue", "two words"], ["'two words'", "neither an id"]),
        (PROCESS, ["--venue", NEW, "--dataset_name", "a.csv"], ["--venue", "--dataset_name"]),
        (PROCESS, ["--venue", NEW, "--review_separator", "|"], ["--venue", "--review_separator"]),
        (PROCESS, ["--test_year", 2024], ["--test_year", "--venue"]),
        (PROCESS, ["--venue", ""], ["''", "neither an id"]),
        (EVALUATE, ["--forum", ""], ["''", "neither an id"]),
        (PROCESS, ["--venue"], ["--venue", "expected at least one argument"]),
        (EVALUATE, ["--forum", "https://openreview.net/about"], ["neither an id"]),
        (EVALUATE, ["--forum", "abc", "--reviews", "a.txt"], ["--reviews", "--forum"]),
        (EVALUATE, ["--reviews", "a.txt", "--num_examples", 3], ["--num_examples"]),
        (EVALUATE, ["--reviews", "a.txt", "--blind"], ["--blind"]),
        (EVALUATE, ["--save"], ["--save", "--reviews", "--forum"]),
    ],
)
def test_wrong_flags(refused, script: str, flags: list, words: list[str]) -> None:
    message = refused(script, *flags)
    assert all(word in message for word in words), message


def test_wrong_input_of_the_scripts(refused, server: OpenReview, model: Path, base: Path, tmp_path: Path) -> None:
    model = ["--model_name_or_path", model]
    assert "no forum 'nowhere'" in refused(EVALUATE, *model, "--forum", "nowhere")
    small = ["--model_name_or_path", base, "--max_summary_tokens", 100]
    assert "no venue 'Shells.org/1999'" in refused(PROCESS, *small, "--venue", "Shells.org/1999")
    assert "'a.txt': No such file" in refused(EVALUATE, *model, "--reviews", "a.txt")
    (tmp_path / "a.txt").write_text(" \n---\n!\n")
    assert "no review in --reviews 'a.txt'" in refused(EVALUATE, *model, "--reviews", "a.txt")
    (tmp_path / "b.txt").write_bytes(b"na\xefve")
    assert "'b.txt' is not a text in UTF-8" in refused(EVALUATE, *model, "--reviews", "b.txt", "a.txt")
    (tmp_path / "c.txt").write_text("Только кириллица.")
    assert "cleaning leaves nothing" in refused(EVALUATE, *model, "--reviews", "c.txt")
    (tmp_path / "d.txt").write_text("A fine paper.")
    assert "no review in --reviews 'a.txt'" in refused(EVALUATE, *model, "--reviews", "d.txt", "a.txt")
    assert "no workbook 'eval_examples.xlsx'" in refused(EVALUATE, *model, "--reviews", "d.txt", "--save")


def test_without_the_package(refused, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openreview", None)  # as if it were not installed
    assert "pip install openreview-py" in refused(EVALUATE, "--model", model, "--forum", "abc")


def test_a_failure_of_openreview_ends_with_status_1(server: OpenReview, fine_tuned: Path) -> None:
    server.add_paper(2, NEW, "abc", [])
    server.bodies.append(b"<html>")
    flags = ["--model_name_or_path", find_model(fine_tuned), "--forum", "abc"]
    result = run_script(EVALUATE, *flags, cwd=fine_tuned, **server.environment())
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "failed: cannot read the forum abc: OpenReview fails, or answers nonsense" in result.stderr


def draft(folder: Path, *flags: object, given: str = "") -> str:
    """What evaluation.py prints, with no way to OpenReview and with `given` as standard input."""
    flags = ("--model", find_model(folder).relative_to(folder), *flags)
    nowhere = "http://127.0.0.1:9"
    result = run_script(EVALUATE, *flags, cwd=folder, given=given, OPENREVIEW_API_BASEURL_V2=nowhere)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_own_reviews_in_three_forms(fine_tuned: Path, tmp_path: Path) -> None:
    reviews = make_rows(1, seed=5)[0]["Input"].split(" <REVBREAK> ")
    for name, review in zip("abc", reviews, strict=True):
        (tmp_path / f"{name}.txt").write_text(review)
    (tmp_path / "all.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n---\r\n".join(reviews).encode())
    before = sorted(fine_tuned.iterdir())
    said = draft(fine_tuned, "--reviews", *(tmp_path / f"{name}.txt" for name in "abc"))
    assert said == draft(fine_tuned, "--reviews", tmp_path / "all.txt")
    assert said == draft(fine_tuned, "--reviews", "-", given="\n---\n".join(reviews))
    assert "Read of each review (156 tokens in all): 100%, 100%, 100%" in said
    model = find_model(fine_tuned).relative_to(fine_tuned)
    assert f"Draft by a model ({model}); check it against the reviews:\n\n" in said
    assert len(said.partition("reviews:\n\n")[2].split()) > 3
    assert sorted(fine_tuned.iterdir()) == before  # a draft leaves nothing behind


def test_how_much_was_read_is_said(fine_tuned: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("the method is convincing " * 100)
    (tmp_path / "short.txt").write_text("the proof")
    said = draft(fine_tuned, "--reviews", tmp_path / "long.txt", tmp_path / "short.txt")
    long, short = said.partition("in all): ")[2].splitlines()[0].split(", ")
    assert short == "100%" and 5 < int(long.removesuffix("%")) < 60


def test_save_adds_the_case_and_keeps_a_persons_things(fine_tuned: Path, tmp_path: Path) -> None:
    workbook, path = Workbook(), tmp_path / "mine.xlsx"
    for row in (["note", "review", "case"], ["=1+1", "an old case", "old"], ["below it", None, None]):
        workbook.active.append(row)
    workbook.active.column_dimensions["B"].width = 33
    workbook.create_sheet("mine").append(["precious"])
    workbook.save(path)
    flags = ["--reviews", "-", "--save", "--test_cases", path]
    for _ in range(2):  # the second time it is there already
        said = draft(fine_tuned, *flags, given="=SUM(1) is no formula\n---\nIt lacks a baseline.")
        assert f"Saved as row 4 of {path}." in said
    saved = load_workbook(path)
    rows = [[cell.value for cell in row] for row in saved.active.iter_rows()]
    assert rows[:3] == [["note", "review", "case"], ["=1+1", "an old case", "old"], ["below it", None, None]]
    assert rows[3:] == [[None, "=SUM(1) is no formula\n<REVBREAK>\nIt lacks a baseline.", None]]
    assert saved.active["B4"].data_type == "s" and saved.active["A2"].data_type == "f"
    assert saved.active.column_dimensions["B"].width == 33 and saved["mine"]["A1"].value == "precious"
    assert {file.name for file in tmp_path.iterdir()} == {"mine.xlsx", "mine_results_outputs.jsonl"}


def test_a_saved_draft_is_not_written_again(fine_tuned: Path, model: Path, tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "mine.xlsx", ["review"])
    given = "The proof is convincing.\n---\nIt lacks a baseline."
    said = draft(fine_tuned, "--reviews", "-", "--save", "--test_cases", path, given=given)
    assert said in draft(fine_tuned, "--reviews", "-", "--save", "--test_cases", path, given=given).replace(
        f"{model.name}: 1 of 1 texts are in {tmp_path / 'mine_results_outputs.jsonl'} already.\n", ""
    )
    result = run_script(EVALUATE, "--model", model, "--test_cases", path, cwd=fine_tuned)
    assert result.returncode == 0 and f"{model.name}: 1 of 1 texts are in" in result.stdout, result.stderr
    [row] = cells(tmp_path / "mine_results.xlsx")
    assert row[model.name] in said


def test_a_case_too_long_for_a_cell_is_not_saved(refused, model: Path, tmp_path: Path) -> None:
    workbook, path = Workbook(), tmp_path / "mine.xlsx"
    workbook.active.append(["review"])
    workbook.save(path)
    before = path.read_bytes()
    (tmp_path / "long.txt").write_text("word " * 8_000)
    flags = ["--model_name_or_path", model, "--reviews", "long.txt", "--save"]
    assert "nothing was saved" in refused(EVALUATE, *flags, "--test_cases", path)
    assert path.read_bytes() == before


def test_from_a_venue_to_a_meta_review(server: OpenReview, base: Path, tmp_path: Path) -> None:
    for number, row in enumerate(make_rows(60)):
        version, venue = (2, NEW) if number % 3 == 0 else (1, OLD)
        reviews = [
            make_reply(
                version, "Official_Review", {"review": review, "rating": "8: good"} if number else {"review": review}
            )
            for review in row["Input"].split(" <REVBREAK> ")
        ]
        meta_review = make_reply(version, "Meta_Review", {"metareview": row["Output"]}, by="Area_Chair_1")
        server.add_paper(version, venue, f"forum{number:02}", [*reviews, meta_review], title=f"Paper {number}")
    environment = server.environment()
    small = ["--model_name_or_path", base, "--max_summary_tokens", 100]
    result = run_script(PROCESS, *small, "--venue", NEW, OLD, "--test_year", 2031, cwd=tmp_path, **environment)
    assert result.returncode == 2 and "no paper is of --test_year 2031, only of 2021, 2024" in result.stderr
    result = run_script(PROCESS, *small, "--venue", NEW, OLD, "--test_year", 2024, cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    cleaned = next(line for line in result.stdout.splitlines() if line.startswith("| test "))
    assert cleaned.split("|")[2].strip() == "20"  # all of 2024, and nothing else
    record = json.loads((tmp_path / "processed_meta_review" / "processing_record.json").read_text())
    assert record["test_year"] == 2024 and record["dataset_name"].count("https://openreview.net/group?id=Shells") == 2
    result = run_script(TUNE, "--model_name_or_path", base, *FINE_TUNING, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    flags = ["--model", find_model(tmp_path), "--forum", "https://openreview.net/forum?id=forum00"]
    result = run_script(EVALUATE, *flags, cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    for words in (f"Paper 0 ({NEW})", "Reviews: 3", "Ratings: - - -\n", f"Draft by a model ({flags[1].name})",
                  f"Written by a person:\n\n{make_rows(1)[0]['Output']}", "| ROUGE-L ", "| lead "):  # fmt: skip
        assert words in result.stdout, (words, result.stdout)
