"""docs/colab.ipynb, with the demo's model and a Drive that is a folder: on one machine, lost, and on the next."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, WEIGHTS

pytestmark = pytest.mark.slow

DRIVE = "from pathlib import Path\ndef mount(folder):\n    Path(folder, 'MyDrive').mkdir(parents=True, exist_ok=True)\n"
NOT_CLONED = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "models", "demo_output", "shared")


def run_notebook(settings: dict[str, str | int]) -> str:
    """Run all cells with these values in the settings; what the cells printed and showed."""
    import nbformat  # here, because only this test needs them
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "colab.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for name, value in settings.items():
        line = f"{name} = {value!r}  "
        cells[0].source, number = re.subn(rf"(?m)^{name} = [^#\n]+", lambda _, line=line: line, cells[0].source)
        assert number == 1, name
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in cells for output in cell.outputs]
    return "".join(output.get("text", "") or f"{list(output.data)} {output.data['text/plain']}" for output in outputs)


def test_the_notebook_resumes_after_the_machine_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, colab = tmp_path / "repository", tmp_path / "packages" / "google" / "colab"
    shutil.copytree(ROOT, repository, ignore=shutil.ignore_patterns(*NOT_CLONED))
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "All"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    colab.mkdir(parents=True)
    (colab / "drive.py").write_text(DRIVE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing is to be installed
    demo, machine = repository / "assets" / "demo", tmp_path / "machine"
    settings = {"REPOSITORY": str(repository), "DATASET": str(demo / "data"), "MODEL": str(demo / "model")}
    settings |= {"MACHINE": str(machine), "NUM_EXAMPLES": 10, "PROCESSING": "--max_summary_tokens 256"}
    settings["TRAINING"] = "--max_steps 4 --validation_examples 8 --max_new_tokens 16 --eval_steps 2 --save_steps 2"
    machine.mkdir()
    said = run_notebook(settings)
    assert "A new run of 4 steps" in said and "image/png" in said and "| reference " in said, said

    kept = machine / "drive" / "MyDrive" / "metareview"
    model = kept / "models" / "pythia-70m_finetuned"
    about = json.loads((model / "run.json").read_text())
    for path in [*machine.iterdir(), *model.iterdir()]:  # lost after the last checkpoint, before the model was saved
        if path.name not in ("drive", "checkpoint-4"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (model / "run.json").write_text(json.dumps(about | {"is_finished": False}))
    said = run_notebook(settings)
    assert "Resuming from step 4 of 4" in said and "A new run" not in said and "| reference " in said, said
    assert (model / WEIGHTS).is_file() and (kept / "pythia-70m_finetuned.xlsx").is_file()
