"""Architectures: tiny random models of many, through loss, training, resuming, an adapter and writing. make test-slow

The table in docs/bigger-models.md says which.
"""

import gc
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import (
    LENGTHS,
    ROOT,
    make_arguments,
    make_examples,
    make_model,
    make_tokenizer,
    make_trainer,
    plain_losses,
)
from peft import LoraConfig
from transformers import CONFIG_MAPPING, AutoConfig

from metareview.common.cli import InputError
from metareview.common.model import Adapter, check_base, load_model, prepare_model
from metareview.generation.batches import generate


def read_table() -> dict[str, list[str]]:
    """The architectures of the rows of the document's table, by the first word of a row."""
    rows = re.findall(r"(?m)^\| (hold|refused.*?) \| (.*) \|$", (ROOT / "docs" / "bigger-models.md").read_text())
    return {name: architectures.split(", ") for name, architectures in rows}


HOLD, SEE_THE_NEXT, NOT_CAUSAL = read_table().values()


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """The Trainer collects garbage again and again: what was there before need not be looked through."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", HOLD)
def test_an_architecture_is_trained_resumed_adapted_and_written_with(architecture: str, tmp_path: Path) -> None:
    if architecture not in CONFIG_MAPPING:
        pytest.skip("this transformers does not have it")
    model, examples = make_model(architecture, scale=3).eval(), make_examples(LENGTHS)
    base, run = tmp_path / "base", tmp_path / "run"
    model.save_pretrained(base)
    check_base(str(base), use_lora=False)

    # The loss is that of the plain model without padding.
    told = {"max_steps": 2, "save_steps": 1, "eval_strategy": "no", "bf16": False, "learning_rate": 1e-3}
    with torch.no_grad():
        expected = torch.cat(plain_losses(model, examples)).mean().item()
    trainer = make_trainer(prepare_model(str(base), None), make_arguments(run, **told), examples)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-4)

    # Training goes on from a checkpoint to the same weights.
    trainer.train()
    again = prepare_model(str(base), None, run / "checkpoint-1")
    resumed = make_trainer(again, make_arguments(tmp_path / "again", **told), examples)
    resumed.train(str(run / "checkpoint-1"))
    for weight, name in zip(again.parameters(), dict(trainer.model.named_parameters()), strict=True):
        assert torch.equal(weight, trainer.model.get_parameter(name)), name

    # An adapter is trained, and loaded with its base.
    adapter = Adapter(LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"), torch.float32)
    adapted = prepare_model(str(base), adapter)
    make_trainer(adapted, make_arguments(tmp_path / "lora", **told | {"max_steps": 1}), examples).train()
    adapted.save_pretrained(tmp_path / "adapter")
    ids = torch.arange(1, 30)[None]
    with torch.no_grad():
        expected, logits = (model.eval()(ids).logits for model in (adapted, load_model(str(tmp_path / "adapter"))))
    assert torch.allclose(logits, expected, atol=1e-4)

    # The texts of a batch are those of one prompt at a time.
    prompts = [example["input_ids"] for example in examples]
    texts = [dict(generate(model, make_tokenizer(), prompts, 8, batch_size=size)) for size in (1, 5)]
    assert texts[0] == texts[1]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", SEE_THE_NEXT)
def test_what_sees_the_next_token_is_refused(architecture: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sees the tokens that it is to predict"):
        make_trainer(make_model(architecture, scale=3), make_arguments(tmp_path), make_examples(LENGTHS))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", NOT_CAUSAL)
def test_what_is_no_causal_language_model_is_refused(architecture: str, tmp_path: Path) -> None:
    AutoConfig.for_model(architecture).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no causal language model"):
        check_base(str(tmp_path))
