"""docs/colab.ipynb, with the demo's model and a folder as Drive: two learning rates, and a machine that is lost."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, interrupt
from openpyxl import load_workbook

pytestmark = pytest.mark.slow

DRIVE = "from pathlib import Path\ndef mount(folder):\n    Path(folder, 'MyDrive').mkdir(exist_ok=True)\n"
NOT_CLONED = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "models", "demo_output", "shared")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The working tree as a repository that can be cloned."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_CLONED))
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "All"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def run_notebook(settings: dict[str, str | float]) -> str:
    """Run all cells with these values in the settings; what the cells printed and showed."""
    import nbformat  # here, because only this test needs them
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "colab.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for name, value in settings.items():
        line = f"{name} = {value!r}  "
        first.source, number = re.subn(rf"(?m)^{name} = [^#\n]+", lambda _, line=line: line, first.source)
        assert number == 1, name
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text", "") or f"{list(output.data)} {output.data['text/plain']}" for output in outputs)


def test_two_learning_rates_share_a_workbook_and_a_lost_run_resumes(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colab = tmp_path / "packages" / "google" / "colab"
    colab.mkdir(parents=True)
    for file in (colab.parent / "__init__.py", colab / "__init__.py"):
        file.touch()
    (colab / "drive.py").write_text(DRIVE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # what is here serves: nothing is to be installed
    demo, machine, work = repository / "assets" / "demo", tmp_path / "machine", tmp_path / "MyDrive" / "metareview"
    settings = {"REPOSITORY": str(repository), "DATASET": str(demo / "reviews"), "MODEL": str(demo / "tiny")}
    settings |= {"MACHINE": str(machine), "WORK": str(work), "NUM_EXAMPLES": 10}
    settings["PROCESSING"] = "--max_summary_tokens 256"
    settings["TRAINING"] = "--max_steps 4 --validation_examples 8 --max_new_tokens 16 --eval_steps 2 --save_steps 2"

    for learning_rate in (1e-3, 1e-4):
        machine.mkdir(exist_ok=True)
        said = run_notebook(settings | {"LEARNING_RATE": learning_rate})
        assert "A new run of 4 steps" in said and "image/png" in said and "| reference " in said, said

    model = next((work / "models").glob("[!.]*_lr1e-4*"))
    interrupted = interrupt(model, tmp_path / "interrupted", 4)  # lost after its last checkpoint, before it was saved
    shutil.rmtree(model)
    interrupted.rename(model)
    shutil.rmtree(machine)
    machine.mkdir()
    said = run_notebook(settings | {"LEARNING_RATE": 1e-4})
    assert "Resuming from step 4 of 4" in said and "A new run" not in said, said
    header = [cell.value for cell in load_workbook(work / "eval_test.xlsx").active[1]]
    assert sum(str(title).startswith("rating ") for title in header) == 3, header  # base and two models
