"""Writing meta-reviews, and the whole script: what it puts into the workbook and what it prints."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch
from conftest import make_model, run_script
from matplotlib.figure import Figure
from openpyxl import Workbook, load_workbook
from openpyxl.drawing.image import Image
from openpyxl.styles import PatternFill
from transformers import GenerationConfig

import evaluation
from evaluation import Output, generate, read_outputs
from processing_meta_review import PROMPTS
from workbook import find_columns


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
    assert second["base_rougeL"] is None and second["base_words"] == len(second["base"].split())
    assert third["base"] is None
    printed = (evaluated.parent / "evaluation_stdout.txt").read_text()
    assert "the reviews of 1 of 2 cases are cut to fit" in printed
    workbook = load_workbook(evaluated)
    column = find_columns(workbook.active)["fine_tuned_rougel"]
    line = next(line for line in printed.splitlines() if line.startswith("| ROUGE-L "))
    assert f"{workbook.active.cell(2, column).value:.3f}" in line.split("|")[3]  # the one case that has a reference
    assert "whether fine_tuned is better than lead cannot be told: 1 cases" in printed.lower()


def test_summary_and_runs_say_what_was_run(evaluated: Path) -> None:
    workbook = load_workbook(evaluated)
    assert workbook.sheetnames[1:] == ["summary", "runs"]
    header, *runs = workbook["runs"].iter_rows(values_only=True)
    run = dict(zip(header, runs[0], strict=True))
    assert run["fine_tuned"] == "pythia_finetuned" and run["prompt"] == "plain" and run["cases"] == 2
    assert run["decoding"].startswith("greedy, 20 tokens, ") and run["data"] == "eval_examples.xlsx"
    rows = {row[0]: row for row in workbook["summary"].iter_rows(values_only=True)}
    header = next(row for row in workbook["summary"].iter_rows(values_only=True) if "lead" in row)
    assert [name for name in header if name] == [
        x for name in ("base", "fine_tuned", "lead") for x in (name, "from", "to")
    ]
    for name, title in (
        ("rougeL", "ROUGE-L"),
        ("words", "words"),
        ("repetition", "4-grams that repeat an earlier one"),
    ):
        for system in ("base", "fine_tuned", "lead"):
            assert rows[title][header.index(system)] == run[f"{system} {name}"]
    assert len(workbook["summary"]._charts) == 1


def test_running_again_uses_the_same_columns_and_gives_the_same_texts(evaluated: Path) -> None:
    before = cells(evaluated)
    result = run_script("evaluation.py", "--max_new_tokens", 20, "--output", "copy.xlsx", cwd=evaluated.parent)
    assert result.returncode == 0, result.stderr
    assert cells(evaluated.parent / "copy.xlsx") == before
    assert cells(evaluated) == before
    assert "texts stand in" not in result.stdout  # another workbook: its texts are written anew
    again = run_script("evaluation.py", "--max_new_tokens", 20, "--output", "copy.xlsx", cwd=evaluated.parent)
    assert "base: 2 of 2 texts stand in copy_outputs.jsonl already." in again.stdout
    assert cells(evaluated.parent / "copy.xlsx") == before
    assert load_workbook(evaluated.parent / "copy.xlsx")["runs"].max_row == 4  # that of the original, and two more


def test_an_interrupted_run_writes_only_what_is_missing(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, generated = evaluated.parent, []

    def counted(*arguments: object) -> Iterator[tuple[int, Output]]:
        for index, output in generate(*arguments):
            generated.append(output)
            yield index, output
            if len(generated) == stop_after:
                raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    monkeypatch.setattr(evaluation, "generate", counted)
    flags = ["--num_examples", "5", "--max_new_tokens", "12", "--batch_size", "2", "--output", "broken.xlsx"]
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
    assert len(generated) == 3 + 3 + 5  # two of five texts of the base stood there whole
    monkeypatch.setattr("sys.argv", ["evaluation.py", *flags[:-1], "whole.xlsx"])
    evaluation.main()
    assert cells(folder / "broken.xlsx") == cells(folder / "whole.xlsx")
    lines = [json.loads(line) for line in (folder / "whole_outputs.jsonl").read_text().splitlines()]
    assert [line["system"] for line in lines] == ["base"] * 5 + ["fine_tuned"] * 5


def test_texts_of_another_model_or_setting_are_not_taken(evaluated: Path) -> None:
    folder = evaluated.parent
    flags = ["--num_examples", 2, "--output", "settings.xlsx"]
    for more in (["--max_new_tokens", 5], ["--max_new_tokens", 6], ["--max_new_tokens", 5, "--prompt", "word_limit"]):
        result = run_script("evaluation.py", *flags, *more, cwd=folder)
        assert result.returncode == 0 and "already" not in result.stdout, result.stderr
    lines = (folder / "settings_outputs.jsonl").read_text().splitlines()
    assert len({json.loads(line)["key"] for line in lines}) == 12
    header, *runs = load_workbook(folder / "settings.xlsx")["runs"].iter_rows(values_only=True)
    assert [run[header.index("prompt")] for run in runs] == ["plain", "plain", "word_limit"]


def test_the_prompt_is_what_the_models_read(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = []

    def read(model: object, tokenizer: object, ids: list[list[int]], *_: object) -> Iterator[tuple[int, Output]]:
        prompts.extend(tokenizer.batch_decode(ids))
        yield from ((index, Output("text", True, 1)) for index in range(len(ids)))

    monkeypatch.chdir(evaluated.parent)
    monkeypatch.setattr(evaluation, "generate", read)
    for number, (name, template) in enumerate(PROMPTS.items()):
        flags = ["--num_examples", "1", "--output", f"prompt{number}.xlsx", "--prompt", name]
        monkeypatch.setattr("sys.argv", ["evaluation.py", *flags])
        evaluation.main()
        before, after = template.split("{review}")
        assert all(prompt.startswith(before) and prompt.endswith(after) for prompt in prompts) and len(prompts) == 2
        prompts.clear()


def test_blind_and_unblind(evaluated: Path) -> None:
    folder, flags = evaluated.parent, ["--num_examples", 4, "--max_new_tokens", 8, "--output", "judge.xlsx"]
    result = run_script("evaluation.py", *flags, "--blind", cwd=folder)
    assert result.returncode == 0, result.stderr
    copy = load_workbook(folder / "judge_blind.xlsx")
    there = find_columns(copy.active)
    assert list(there) == ["review", "reference", "a", "b", "preferred", "rating_a", "rating_b", "comment"]
    again = run_script("evaluation.py", *flags, "--blind", cwd=folder)  # there may be judgements in it
    assert again.returncode == 2 and "judge_blind.xlsx' is there already" in again.stderr
    key = json.loads((folder / "judge_blind_key.json").read_text())
    rows = cells(folder / "judge.xlsx")
    for row in range(2, 6):
        copy.active.cell(row, there["preferred"]).value = "A"
    copy.save(folder / "judge_blind.xlsx")
    result = run_script("evaluation.py", *flags, "--unblind", cwd=folder)
    assert result.returncode == 0, result.stderr
    first = [names[0] for names in key.values()]
    assert (
        f"Preferred in judge.xlsx: base {first.count('base')}, fine_tuned {first.count('fine_tuned')}, tie 0, neither 0"
        in result.stdout
    )
    judged = cells(folder / "judge.xlsx")
    assert [row["preferred"] for row in judged] == first
    assert [row["base"] for row in judged] == [row["base"] for row in rows]
    (folder / "judge_blind_key.json").write_text("[]")
    broken = run_script("evaluation.py", *flags, "--unblind", cwd=folder)
    assert broken.returncode == 2 and "is no key of a blind copy" in broken.stderr and "Traceback" not in broken.stderr


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
    picture = BytesIO()
    Figure(figsize=(1, 1)).savefig(picture, format="png")
    sheet.add_image(Image(picture), "F9")
    workbook.save(path)

    def meanwhile(name: str, settings: object, cases: list, *_: object) -> list[Output]:
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
    assert sheet.row_dimensions[2].height == 77 and len(sheet._images) == 1


def test_settings_that_a_model_brings_do_not_change_the_decoding(tokenizer) -> None:
    model, prompt = make_model("gpt_neox").eval(), tokenizer("the method is convincing").input_ids
    plain = dict(generate(model, tokenizer, [prompt], 20, batch_size=1))[0]
    model.generation_config = GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=2, eos_token_id=[3, 4, 5])
    assert dict(generate(model, tokenizer, [prompt], 20, batch_size=1))[0] == plain
