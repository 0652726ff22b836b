"""Whole scripts: what evaluation.py puts into the workbook and prints, and the way from OpenReview to a meta-review."""

import json
import shutil
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from conftest import FINE_TUNING, make_rows, run_script
from matplotlib.figure import Figure
from openpyxl import Workbook, load_workbook
from openpyxl.drawing.image import Image
from openpyxl.styles import PatternFill
from servers.openreview import OpenReview, make_reply
from workbooks import make_workbook

import evaluation
from metareview import generation
from metareview.generation import Output, generate, read_outputs
from metareview.prompts import PROMPTS

PROCESS, TUNE, EVALUATE = "processing_meta_review.py", "fine_tune.py", "evaluation.py"
NEW, OLD = "Shells.org/2024/Conference", "Shells.org/2021/Conference"


def cells(path: Path) -> list[dict]:
    header, *rows = load_workbook(path).active.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def evaluate(folder: Path, *flags: object) -> str:
    """What evaluation.py prints for the model in `pythia_finetuned`."""
    result = run_script(EVALUATE, "--models", "pythia_finetuned", *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def evaluated(fine_tuned: Path) -> Path:
    """A workbook with columns of the user's, evaluated: the copy with the results."""
    path = make_workbook(
        fine_tuned / "eval_examples.xlsx",
        ["mine", "review", "reference", "formula"],
        ["=note", "Fine: a proof, a table.<REVBREAK>Bad!", "A paper; fine.", "=1+1"],
        [None, "No reference here. " * 90, None, None],
        ["no review", None, "nothing", None],
    )
    before = path.read_bytes()
    (fine_tuned / "evaluation_stdout.txt").write_text(evaluate(fine_tuned, "--max_new_tokens", 20))
    assert path.read_bytes() == before  # the test cases stay as they are
    return fine_tuned / "eval_examples_results.xlsx"


def test_results_stand_beside_the_users_columns(evaluated: Path, base: Path) -> None:
    first, second, third = cells(evaluated)
    own, tuned = base.name, "pythia_finetuned"
    assert list(first)[:9] == ["mine", "review", "reference", "formula", own, tuned, "preferred", f"rating {own}",
                               f"rating {tuned}"]  # fmt: skip
    assert first["review"] == "Fine: a proof, a table.<REVBREAK>Bad!" and first["formula"] == "=1+1"
    assert 0 <= first[f"{tuned} ROUGE-L"] <= 1 and first[f"{own} stopped"] in ("yes", "no")
    assert second[f"{own} ROUGE-L"] is None and second[f"{own} words"] == len(second[own].split())
    assert third[own] is None
    printed = (evaluated.parent / "evaluation_stdout.txt").read_text()
    assert "the reviews of 1 of 2 cases are cut to fit" in printed
    line = next(line for line in printed.splitlines() if line.startswith(f"| {tuned} "))
    assert f" {first[f'{tuned} ROUGE-L']:.3f} |" in line  # the one case that has a reference
    assert "cannot be told: 1 cases" in printed


def test_summary_and_runs_say_what_was_run(evaluated: Path, base: Path) -> None:
    workbook = load_workbook(evaluated)
    assert workbook.sheetnames[1:] == ["judgements", "runs", "summary"]
    assert workbook["judgements"].sheet_state == "veryHidden"
    header, *rows = workbook["runs"].iter_rows(values_only=True)
    runs = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert list(runs) == [base.name, "pythia_finetuned", "lead"]
    run = runs["pythia_finetuned"]
    assert (run["base"], run["learning rate"], run["epochs"], run["seed"]) == (base.name, 0.005, 2, 42)
    assert run["prompt"] == "plain" and run["cases"] == 2 and run["examples"] == 24 and run["validation loss"] > 0
    assert run["decoding"].startswith("greedy, 20 tokens, ") and run["data"] == "eval_examples.xlsx"
    table = {row[0]: row for row in workbook["summary"].iter_rows(values_only=True)}
    place = table["model"].index("words")
    assert all(table[name][place] == runs[name]["words"] for name in runs)
    assert len(workbook["summary"]._charts) == 2


def test_running_again_gives_the_same_sheet_and_writes_nothing_anew(evaluated: Path) -> None:
    before = cells(evaluated)
    said = evaluate(evaluated.parent, "--max_new_tokens", 20)
    assert said.count("2 of 2 texts are in eval_examples_results_outputs.jsonl already.") == 2
    assert cells(evaluated) == before
    assert load_workbook(evaluated)["runs"].max_row == 4  # a run that repeats another replaces its rows


def test_the_scores_stand_in_the_card_beside_the_model(evaluated: Path) -> None:
    card = (evaluated.parent / "pythia_finetuned" / "README.md").read_text()
    assert card.count("## Scores on 2 cases of `eval_examples.xlsx`") == 1 and "| pythia_finetuned |" in card


def test_an_interrupted_run_writes_only_what_is_missing(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, generated = evaluated.parent, []

    def counted(*arguments: object) -> Iterator[tuple[int, Output]]:
        for index, output in generate(*arguments):
            generated.append(output)
            yield index, output
            if len(generated) == stop_after:
                raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    monkeypatch.setattr(generation, "generate", counted)
    flags = ["--models", "pythia_finetuned", "--num_examples", "5", "--max_new_tokens", "12", "--batch_size", "2"]
    flags += ["--output", "broken.xlsx"]
    monkeypatch.setattr("sys.argv", ["evaluation.py", *flags])
    stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        evaluation.main()
    assert not (folder / "broken.xlsx").exists()
    log = folder / "broken_outputs.jsonl"
    assert [output.text for output in read_outputs(log).values()] == [output.text for output in generated]
    log.write_bytes(log.read_bytes()[:-30])  # the third line is cut off, as by kill -9
    stop_after = 0
    evaluation.main()
    assert len(generated) == 3 + 3 + 5  # two of five texts of the base were there whole
    monkeypatch.setattr("sys.argv", ["evaluation.py", *flags[:-1], "whole.xlsx"])
    evaluation.main()
    assert cells(folder / "broken.xlsx") == cells(folder / "whole.xlsx")


def test_texts_of_another_setting_are_not_taken(evaluated: Path) -> None:
    folder, flags = evaluated.parent, ["--num_examples", 2, "--output", "settings.xlsx"]
    for more in (["--max_new_tokens", 5], ["--max_new_tokens", 6], ["--max_new_tokens", 5, "--prompt", "word_limit"]):
        assert "already" not in evaluate(folder, *flags, *more)
    header, *runs = load_workbook(folder / "settings.xlsx")["runs"].iter_rows(values_only=True)
    prompts = [run[header.index("prompt")] for run in runs if run[0] == "pythia_finetuned"]
    assert prompts == ["plain", "plain", "word_limit"]


def test_the_prompt_is_what_the_models_read(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = []

    def read(model: object, tokenizer: object, ids: list[list[int]], *_: object) -> Iterator[tuple[int, Output]]:
        prompts.extend(tokenizer.batch_decode(ids))
        yield from ((index, Output("text", True, 1)) for index in range(len(ids)))

    monkeypatch.chdir(evaluated.parent)
    monkeypatch.setattr(generation, "generate", read)
    for number, (name, template) in enumerate(PROMPTS.items()):
        flags = ["--models", "pythia_finetuned", "--num_examples", "1", "--output", f"prompt{number}.xlsx"]
        monkeypatch.setattr("sys.argv", ["evaluation.py", *flags, "--prompt", name])
        evaluation.main()
        before, after = template.split("{review}")
        assert all(prompt.startswith(before) and prompt.endswith(after) for prompt in prompts) and len(prompts) == 2
        prompts.clear()


def test_rows_of_the_test_split_go_to_a_workbook_of_their_own(evaluated: Path) -> None:
    folder, before = evaluated.parent, evaluated.read_bytes()
    flags = ["--num_examples", 3, "--max_new_tokens", 20]
    evaluate(folder, *flags)
    rows = cells(folder / "eval_test.xlsx")
    assert len(rows) == 3 and all(row["reference"] and row["review"].count("<REVBREAK>") == 2 for row in rows)
    assert evaluated.read_bytes() == before
    workbook = load_workbook(folder / "eval_test.xlsx")
    workbook.active.cell(2, workbook.active.max_column + 1).value = "a remark of mine"
    workbook.save(folder / "eval_test.xlsx")
    evaluate(folder, *flags)
    again = load_workbook(folder / "eval_test.xlsx").active  # the same rows: taken on, with the remark
    assert "a remark of mine" in [cell.value for cell in again[2]]


def test_cases_of_another_file_are_added_and_nothing_is_lost(evaluated: Path) -> None:
    folder = evaluated.parent
    make_workbook(folder / "other.xlsx", ["review", "stars"], ["mine", 3])
    said = evaluate(folder, "--num_examples", 2, "--max_new_tokens", 5, "--output", "other.xlsx")
    assert "2 cases that other.xlsx lacked are added" in said
    first, *others = cells(folder / "other.xlsx")
    assert (first["review"], first["stars"]) == ("mine", 3) and len(others) == 2 and others[0]["reference"]


def test_what_a_person_made_of_the_sheet_survives(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    flags = ["--models", "pythia_finetuned", "--test_cases", "mine.xlsx", "--output", "mine.xlsx"]
    monkeypatch.setattr("sys.argv", ["evaluation.py", *flags])
    evaluation.main()
    assert load_workbook(path).active["E2"].value.startswith("edited while")  # what was saved meanwhile stays
    (written,) = evaluated.parent.glob("mine_*.xlsx")
    sheet = load_workbook(written).active
    assert sheet["E3"].value == "without a header" and sheet["F2"].value == "text"
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
    models = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert len(models) == len(variants)

    def run_evaluation(*flags: object) -> str:
        done = run_script(EVALUATE, "--num_examples", 8, *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run_evaluation("--models", "models/*")
    path = tmp_path / "eval_test.xlsx"
    assert {*models, base.name, "second"} <= set(cells(path)[0])
    runs = [row[0] for row in load_workbook(path)["runs"].iter_rows(min_row=2, values_only=True)]
    assert sorted(runs) == sorted([*models, base.name, "second", "lead"])
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
        (EVALUATE, ["--forum", "abc", "--reviews", "a.txt"], ["--reviews and --forum"]),
        (EVALUATE, ["--reviews", "a.txt", "--num_examples", 3], ["--num_examples"]),
        (EVALUATE, ["--reviews", "a.txt", "--blind"], ["--blind"]),
        (EVALUATE, ["--save"], ["--save", "--reviews", "--forum"]),
    ],
)
def test_wrong_flags(refused, script: str, flags: list, words: list[str]) -> None:
    message = refused(script, *flags)
    assert all(word in message for word in words), message


def test_wrong_input_of_the_scripts(refused, server: OpenReview, fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    model = ["--model_name_or_path", fine_tuned / "pythia_finetuned"]
    assert "no forum 'nowhere'" in refused(EVALUATE, *model, "--forum", "nowhere")
    small = ["--model_name_or_path", base, "--max_summary_tokens", 100]
    assert "no venue 'Shells.org/1999'" in refused(PROCESS, *small, "--venue", "Shells.org/1999")
    assert "'a.txt': No such file" in refused(EVALUATE, *model, "--reviews", "a.txt")
    (tmp_path / "a.txt").write_text(" \n---\n!\n")
    assert "no review in --reviews 'a.txt'" in refused(EVALUATE, *model, "--reviews", "a.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    assert "'b.txt': it is no text in UTF-8" in refused(EVALUATE, *model, "--reviews", "b.txt", "a.txt")
    (tmp_path / "c.txt").write_text("Только кириллица.")
    assert "cleaning leaves nothing" in refused(EVALUATE, *model, "--reviews", "c.txt")
    (tmp_path / "d.txt").write_text("A fine paper.")
    assert "no review in --reviews 'a.txt'" in refused(EVALUATE, *model, "--reviews", "d.txt", "a.txt")
    assert "no workbook 'eval_examples.xlsx'" in refused(EVALUATE, *model, "--reviews", "d.txt", "--save")


def test_without_the_package(refused, fine_tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openreview", None)  # as if it were not installed
    model = ["--model_name_or_path", fine_tuned / "pythia_finetuned"]
    assert "pip install openreview-py" in refused(EVALUATE, *model, "--forum", "abc")


def test_a_failure_of_openreview_ends_with_status_1(server: OpenReview, fine_tuned: Path) -> None:
    server.add_paper(2, NEW, "abc", [])
    server.bodies.append(b"<html>")
    flags = ["--model_name_or_path", "pythia_finetuned", "--forum", "abc"]
    result = run_script(EVALUATE, *flags, cwd=fine_tuned, **server.environment())
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "failed: cannot read the forum abc: OpenReview's answer makes no sense" in result.stderr


def draft(folder: Path, *flags: object, given: str = "") -> str:
    """What evaluation.py prints, with no way to OpenReview and with `given` as standard input."""
    flags = ("--model", "pythia_finetuned", *flags)
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
    assert "Draft by a model (pythia_finetuned); check it against the reviews:\n\n" in said
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
    kept = read_outputs(tmp_path / "mine_results_outputs.jsonl")  # the draft too: the next evaluation has it
    assert len(kept) == 1 and {file.name for file in tmp_path.iterdir()} == {"mine.xlsx", "mine_results_outputs.jsonl"}


def test_a_case_too_long_for_a_cell_is_not_saved(refused, fine_tuned: Path, tmp_path: Path) -> None:
    workbook, path = Workbook(), tmp_path / "mine.xlsx"
    workbook.active.append(["review"])
    workbook.save(path)
    before = path.read_bytes()
    (tmp_path / "long.txt").write_text("word " * 8_000)
    flags = ["--model_name_or_path", fine_tuned / "pythia_finetuned", "--reviews", "long.txt", "--save"]
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
    flags = ["--models", "pythia_finetuned", "--forum", "https://openreview.net/forum?id=forum00"]
    result = run_script(EVALUATE, *flags, cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    for words in (f"Paper 0 ({NEW})", "Reviews: 3", "Ratings: - - -\n", "Draft by a model (pythia_finetuned)",
                  f"Written by a person:\n\n{make_rows(1)[0]['Output']}", " ROUGE-L |", "| lead "):  # fmt: skip
        assert words in result.stdout, (words, result.stdout)
