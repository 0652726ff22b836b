"""Training: its steps are those of the plain model, its losses the mean over tokens, its failures one line."""

import inspect
from pathlib import Path

import pytest
import torch
import transformers
from conftest import LENGTHS, make_arguments, make_examples, make_model, make_trainer, plain_losses

from metareview.training.batching import SummaryCollator
from metareview.training.trainer import SummaryTrainer


@pytest.fixture(scope="module")
def examples() -> list[dict[str, list[int]]]:
    return make_examples(LENGTHS)


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 5), (2, 3), (5, 1)])
def test_a_step_of_the_trainer_is_that_of_the_plain_model(
    batch: int, accumulation: int, examples: list, tmp_path: Path
) -> None:
    """Batch size and accumulation change memory and speed, not what is learned."""
    model, plain = make_model("gpt_neox"), make_model("gpt_neox")
    torch.cat(plain_losses(plain, examples)).mean().backward()
    flags = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0, "max_steps": 1, "eval_strategy": "no"}
    sizes = {"batch_size": batch, "accumulation_steps": accumulation}
    arguments = make_arguments(tmp_path, save_strategy="no", bf16=False, **flags, **sizes)
    make_trainer(model, arguments, examples).train()
    for (name, parameter), before in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(parameter, before - 0.1 * before.grad, atol=1e-6), name


def test_bf16_is_really_used_and_weights_stay_fp32(examples: list, tmp_path: Path) -> None:
    """Who calls a part of the model instead of its forward gets no autocast, and trains in fp32 without noticing."""
    model, seen = make_model("gpt_neox"), set()
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    arguments = make_arguments(tmp_path, max_steps=1, bf16=True, save_strategy="no")
    make_trainer(model, arguments, examples).train()
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_loss_comes_without_logits_and_logits_come_without_labels(examples: list, tmp_path: Path) -> None:
    trainer = make_trainer(make_model("gpt_neox"), make_arguments(tmp_path), examples)
    inputs = SummaryCollator(0)(examples)
    assert trainer.model(**inputs).logits is None
    labels = inputs.pop("labels")
    assert trainer.model(**inputs).logits.shape[:2] == labels.shape


def test_the_training_set_is_whole(examples: list, tmp_path: Path) -> None:
    trainer = make_trainer(make_model("gpt_neox"), make_arguments(tmp_path), examples * 4)
    assert trainer.train_dataset.to_list() == examples * 4


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_eval_loss_is_the_mean_over_tokens_whatever_the_batch_size(
    batch_size: int, examples: list, tmp_path: Path
) -> None:
    model = make_model("gpt_neox")
    expected = torch.cat(plain_losses(model, examples)).mean().item()
    arguments = make_arguments(tmp_path, evaluation_batch_size=batch_size, bf16=False)
    assert make_trainer(model, arguments, examples).evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-6)


def exhaust(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("early", ["__init__", "train"])
def test_too_little_memory_before_the_first_step_is_one_line(
    early: str, examples: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a GPU has no room for the model, or not for the optimizer of the checkpoint to go on from."""
    monkeypatch.setattr(transformers.Trainer, early, exhaust)
    with pytest.raises(OSError, match="out of memory at step 1; set BATCH_SIZE = 2 with ACCUMULATION_STEPS = 2"):
        make_trainer(make_model("gpt_neox"), make_arguments(tmp_path), examples).train()


@pytest.mark.parametrize("allocate", [exhaust, lambda *_: torch.empty(2**60) and None], ids=["GPU", "CPU"])
def test_too_little_memory_in_training_is_one_line(allocate: object, examples: list, tmp_path: Path) -> None:
    """As a GPU raises it, and as PyTorch does when a CPU has no more: an allocation that no machine can make."""
    model = make_model("gpt_neox")
    model.get_output_embeddings().register_forward_pre_hook(allocate)
    trainer = make_trainer(model, make_arguments(tmp_path, eval_strategy="no"), examples)
    with pytest.raises(OSError, match="out of memory at step 1; set BATCH_SIZE = 2 with ACCUMULATION_STEPS = 2"):
        trainer.train()


def test_the_only_private_method_of_the_trainer_is_there_and_is_as_it_was() -> None:
    """No other one is overridden; what is told here is what to look at when the library has changed."""
    own = {name for name in vars(SummaryTrainer) if name.startswith("_") and not name.startswith("__")}
    private = {name for name in own if any(name in vars(parent) for parent in SummaryTrainer.__mro__[1:])}
    assert own == {"_get_grad_norm"}, f"SummaryTrainer should override _get_grad_norm alone, not {sorted(own)}"
    version = transformers.__version__
    assert private == own, (
        f"transformers {version}: Trainer has no _get_grad_norm any more. SummaryTrainer finds NaN or infinite losses "
        "there; look for what the Trainer calls now between the backward pass and the step of the optimizer"
    )
    parameters = list(inspect.signature(transformers.Trainer._get_grad_norm).parameters)
    assert parameters == ["self", "model", "grad_norm"], (
        f"transformers {version}: Trainer._get_grad_norm takes {parameters} instead of self, model, grad_norm; "
        "see whether it still returns the norm of the step's gradient, once for each step, before the optimizer's step"
    )


def test_a_tokenizer_without_padding_is_nothing_to_warn_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pythia's is one; the Trainer would say that the model's configuration was changed."""
    warnings: list[str] = []
    monkeypatch.setattr(transformers.trainer_utils.logger, "warning", warnings.append)
    arguments = make_arguments(tmp_path, max_steps=1, eval_strategy="no", save_strategy="no")
    make_trainer(make_model("gpt_neox"), arguments, make_examples(LENGTHS)).train()
    assert warnings == []
