"""Compare learning rates on the demo: fine_tune.py once for each, the validation losses in one picture.

make demo                                                                # makes the data that are used
.venv/bin/python benchmarks/learning_rates.py assets/learning_rates.png  # where the picture goes
"""

import json
import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure

RATES = ("1e-3", "1e-4", "1e-5")
DEMO, RESULTS = Path("demo_output"), Path("benchmark_results")


def validation_losses(rate: str) -> tuple[list[float], list[float]]:
    """Epochs and losses of a run with this learning rate, which is made if it is not there yet."""
    folder = RESULTS / f"learning_rate_{rate}"
    data = ["--dataset_name", DEMO / "processed_meta_review", "--tokenized_dir", DEMO / "tokenized_meta_review"]
    run = ["--output_dir", folder, "--epochs", "2", "--learning_rate", rate]
    command = [sys.executable, "fine_tune.py", *data, *run]
    subprocess.run(list(map(str, command)), check=True)
    last = max(folder.glob("checkpoint-*"), key=lambda checkpoint: int(checkpoint.name.partition("-")[2]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    losses = [(entry["epoch"], entry["eval_loss"]) for entry in history if "eval_loss" in entry]
    return tuple(zip(*losses, strict=True))


def main(picture: Path) -> None:
    RESULTS.mkdir(exist_ok=True)
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for rate in RATES:
        epochs, losses = validation_losses(rate)
        axes.plot(epochs, losses, "o-", markersize=4, label=f"{rate}: {losses[-1]:.3f}")
        print(f"learning rate {rate}: validation loss {losses[0]:.4f} before, {losses[-1]:.4f} at the end")
    axes.set(xlabel="epoch", ylabel="validation loss (nats per token)", title="The demo at three learning rates")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else RESULTS / "learning_rates.png"))
