"""Writing and scoring meta-reviews, and the workbook that they go to."""

from pathlib import Path

import pytest
import torch
from conftest import make_model, run_script
from openpyxl import Workbook, load_workbook
from openpyxl.styles import PatternFill
from transformers import GenerationConfig

import evaluation
from evaluation import Output, generate, score
from workbook import CELL_LIMIT, find_columns, place_results, read_cases, save_workbook, write_results, write_text


def make_workbook(path: Path, *rows: list) -> Path:
    workbook = Workbook()
    for row in rows:
        workbook.active.append(row)
    workbook.save(path)
    return path


def cells(path: Path) -> list[dict]:
    header, *rows = load_workbook(path).active.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
def test_batches_write_what_one_at_a_time_writes(architecture: str, tokenizer) -> None:
    model = make_model(architecture).eval()
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(1, 400, (length,), generator=generator).tolist() for length in (5, 60, 23, 11, 42)]
    batched = dict(generate(model, tokenizer, prompts, 20, batch_size=3))
    assert sorted(batched) == [0, 1, 2, 3, 4]
    for index, prompt in enumerate(prompts):
        assert dict(generate(model, tokenizer, [prompt], 20, batch_size=1))[0] == batched[index]
        alone = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20, pad_token_id=0)
        assert tokenizer.decode(alone[0, len(prompt) :], skip_special_tokens=True).strip() == batched[index].text


def test_stopping_is_told_from_being_cut_off(tokenizer) -> None:
    model = make_model("gpt_neox").eval()
    prompt = tokenizer("paper").input_ids
    text = dict(generate(model, tokenizer, [prompt], 5, batch_size=1))[0]
    assert not text.stopped and text.tokens == 5
    model.lm_head.weight.data[:] = 0  # now all logits are equal, and the first token of all is the end token
    assert dict(generate(model, tokenizer, [prompt], 5, batch_size=1))[0] == Output("", True, 1)


def test_scores_by_hand() -> None:
    scores = score(Output("the method works well", True, 4), "The method works. It is new!")
    assert scores["rouge1"] == 0.6  # 3 of 4 words against 3 of 6: 2 * 3 / (4 + 6)
    assert scores["rouge2"] == 0.5  # 2 of 3 pairs against 2 of 5: 2 * 2 / (3 + 5)
    assert scores["rougeL"] == 0.6
    assert scores["words"] == 4 and scores["stopped"] is True
    assert score(Output("reviewers agreed", True, 2), "reviewer agrees")["rouge1"] == 1  # stemming
    assert score(Output("a well-written text", True, 3), "A well-written text.")["rougeL"] == 1  # both cleaned alike
    assert score(Output("something", False, 1), "") == {"words": 1, "stopped": False}


def test_texts_never_become_formulas_and_stay_within_a_cell(tmp_path: Path) -> None:
    workbook = Workbook()
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "plain", "bad\x00character", "x" * 40_000]
    for row, text in enumerate(texts, start=1):
        write_text(workbook.active.cell(row, 1), text)
    save_workbook(workbook, tmp_path / "texts.xlsx")
    loaded = [row[0] for row in load_workbook(tmp_path / "texts.xlsx").active.iter_rows()]
    assert all(cell.data_type in ("s", "inlineStr") for cell in loaded)
    assert [cell.value for cell in loaded[:6]] == texts[:6]
    assert loaded[6].value == "bad\ufffdcharacter"
    assert len(loaded[7].value) == CELL_LIMIT and loaded[7].value.endswith("[cut]")


def test_cases_are_the_rows_with_a_review(tmp_path: Path) -> None:
    path = make_workbook(
        tmp_path / "a.xlsx", ["No", " Review ", "reference"], [1, "a", "r"], [2, None, "r"], [3, "b", None]
    )
    sheet = load_workbook(path).active
    assert find_columns(sheet) == {"no": 1, "review": 2, "reference": 3}
    assert [(case.row, case.review, case.reference) for case in read_cases(sheet, "a")] == [(2, "a", "r"), (4, "b", "")]


def test_a_failed_save_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_workbook(tmp_path / "a.xlsx", ["review"], ["old"])
    before = path.read_bytes()
    workbook = load_workbook(path)

    def breaks(target: Path) -> None:
        Path(target).write_bytes(b"half a workbook")
        raise OSError("No space left on device")

    monkeypatch.setattr(workbook, "save", breaks)
    with pytest.raises(OSError, match="No space"):
        save_workbook(workbook, path)
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def evaluated(fine_tuned: Path) -> Path:
    """A workbook with columns of the user's, evaluated in place."""
    path = make_workbook(
        fine_tuned / "eval_examples.xlsx",
        ["mine", "review", "reference", "formula"],
        ["=note", "Fine: a proof, a table.<REVBREAK>Bad!", "A paper; fine.", "=1+1"],
        [None, "No reference here. " * 90, None, None],
        ["no review", None, "nothing", None],
    )
    result = run_script("evaluation.py", "--max_new_tokens", 20, cwd=fine_tuned)
    assert result.returncode == 0, result.stderr
    (fine_tuned / "evaluation_stdout.txt").write_text(result.stdout)
    return path


def test_results_stand_beside_the_users_columns(evaluated: Path) -> None:
    first, second, third = cells(evaluated)
    assert list(first)[:6] == ["mine", "review", "reference", "formula", "base", "fine_tuned"]
    assert first["review"] == "Fine: a proof, a table.<REVBREAK>Bad!" and first["formula"] == "=1+1"
    assert isinstance(first["base"], str) and isinstance(first["fine_tuned"], str)
    assert 0 <= first["fine_tuned_rougeL"] <= 1 and first["base_stopped"] in ("yes", "no")
    assert second["base_rouge1"] is None and second["base_words"] == len(second["base"].split())
    assert third["base"] is None
    printed = (evaluated.parent / "evaluation_stdout.txt").read_text()
    assert "the reviews of 1 of 2 cases are cut to fit" in printed
    rouge = load_workbook(evaluated).active
    column = find_columns(rouge)["fine_tuned_rougel"]
    line = next(line for line in printed.splitlines() if line.startswith("| fine_tuned "))
    assert f"{rouge.cell(2, column).value:.4f}" in line  # the mean over the one case that has a reference


def test_running_again_uses_the_same_columns_and_gives_the_same_texts(evaluated: Path) -> None:
    before = cells(evaluated)
    result = run_script("evaluation.py", "--max_new_tokens", 20, "--output", "copy.xlsx", cwd=evaluated.parent)
    assert result.returncode == 0, result.stderr
    assert cells(evaluated.parent / "copy.xlsx") == before
    assert cells(evaluated) == before


def test_rows_of_the_test_split_go_to_a_workbook_of_their_own(evaluated: Path) -> None:
    folder = evaluated.parent
    before = evaluated.read_bytes()
    flags = ["--num_examples", 3, "--max_new_tokens", 20]
    result = run_script("evaluation.py", *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    rows = cells(folder / "eval_test.xlsx")
    assert len(rows) == 3 and all(row["reference"] and row["review"].count("<REVBREAK>") == 2 for row in rows)
    assert evaluated.read_bytes() == before
    workbook = load_workbook(folder / "eval_test.xlsx")
    workbook.active.cell(2, workbook.active.max_column + 1).value = "a remark of mine"
    workbook.save(folder / "eval_test.xlsx")
    assert run_script("evaluation.py", *flags, cwd=folder).returncode == 0
    again = load_workbook(folder / "eval_test.xlsx").active  # the same rows: taken on, with the remark
    assert "a remark of mine" in [cell.value for cell in again[2]]


def test_a_workbook_with_other_rows_is_left_alone(refused, evaluated: Path) -> None:
    workbook = Workbook()
    workbook.active.append(["review"])
    workbook.active.append(["mine"])
    workbook.save(evaluated.parent / "other.xlsx")
    before = (evaluated.parent / "other.xlsx").read_bytes()
    folder = evaluated.parent
    flags = ["--model_name_or_path", folder / "pythia_finetuned", "--dataset_name", folder / "processed_meta_review"]
    message = refused("evaluation.py", *flags, "--num_examples", 2, "--output", folder / "other.xlsx")
    assert "holds other test cases" in message and (folder / "other.xlsx").read_bytes() == before


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
    workbook.save(path)

    def meanwhile(name: str, cases: list, *_: object) -> list[Output]:
        edited = load_workbook(path)
        edited.active["E2"] = f"edited while {name} wrote"
        edited.save(path)
        return [Output("text", True, 1)] * len(cases)

    monkeypatch.chdir(evaluated.parent)
    monkeypatch.setattr(evaluation, "write_summaries", meanwhile)
    monkeypatch.setattr("sys.argv", ["evaluation.py", "--test_cases", "mine.xlsx"])
    evaluation.main()
    assert load_workbook(path).active["E2"].value.startswith("edited while")  # what was saved meanwhile stays
    (written,) = evaluated.parent.glob("mine_*.xlsx")
    sheet = load_workbook(written).active
    assert sheet["E3"].value == "without a header" and sheet["F1"].value == "base" and sheet["F2"].value == "text"
    assert sheet["A1"].fill.fgColor.rgb.endswith("FF0000") and str(sheet.merged_cells) == "A2:A3"
    assert sheet.column_dimensions["A"].width == 41 and sheet.column_dimensions["B"].hidden
    assert sheet.row_dimensions[2].height == 77


def test_settings_that_a_model_brings_do_not_change_the_decoding(tokenizer) -> None:
    model, prompt = make_model("gpt_neox").eval(), tokenizer("the method is convincing").input_ids
    plain = dict(generate(model, tokenizer, [prompt], 20, batch_size=1))[0]
    model.generation_config = GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=2, eos_token_id=[3, 4, 5])
    assert dict(generate(model, tokenizer, [prompt], 20, batch_size=1))[0] == plain


def test_rows_are_as_high_as_the_longest_text_needs(tmp_path: Path) -> None:
    sheet = load_workbook(make_workbook(tmp_path / "a.xlsx", ["review"], ["a"])).active
    columns, cases = place_results(sheet, "a.xlsx"), read_cases(sheet, "a")
    for base, fine_tuned in (("", ""), ("word " * 10, "word " * 60)):  # empty first, as evaluation.py tries it
        texts = {"base": base, "fine_tuned": fine_tuned}
        results = {name: [score(Output(text, True, 1), "") | {"text": text}] for name, text in texts.items()}
        write_results(sheet, columns, cases, results)
    assert sheet.row_dimensions[2].height == 15 * 6  # 300 characters in a column 60 wide, and one line to spare


def test_texts_of_a_case_that_is_gone_go_too(tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "a.xlsx", ["review"], ["a"], ["b"])
    sheet = load_workbook(path).active
    columns = place_results(sheet, "a.xlsx")
    results = {model: [score(Output("x", True, 1), "") | {"text": "x"}] * 2 for model in ("base", "fine_tuned")}
    write_results(sheet, columns, read_cases(sheet, "a"), results)
    sheet["A3"] = None
    fewer = {model: rows[:1] for model, rows in results.items()}
    write_results(sheet, place_results(sheet, "a.xlsx"), read_cases(sheet, "a"), fewer)
    assert sheet["B2"].value == "x" and sheet["B3"].value is None
