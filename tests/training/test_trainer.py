"""Training: its steps are those of the plain model, its failures one line, its progress is seen, fp16 must suffice."""

from functools import partialmethod
from pathlib import Path

import pytest
import torch
import transformers
from conftest import LENGTHS, make_arguments, make_examples, make_model, make_trainer, plain_losses
from tqdm import tqdm

from metareview.common.cli import InputError
from metareview.training import callbacks


@pytest.fixture(scope="module")
def examples() -> list[dict[str, list[int]]]:
    return make_examples(LENGTHS)


@pytest.mark.parametrize(("batch", "accumulation"), [(2, 3), (5, 1)])
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
    trainer = make_trainer(model, make_arguments(tmp_path, max_steps=1, bf16=True, save_strategy="no"), examples)
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    trainer.train()
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def exhaust(layer: torch.nn.Module, *_: object, **__: object) -> None:
    """As PyTorch does when a CPU has no more memory: an allocation that no machine can make."""
    if layer.training:
        torch.empty(2**60)


@pytest.mark.parametrize("early", [True, False])
def test_too_little_memory_is_one_line(early: bool, examples: list, tmp_path: Path, monkeypatch) -> None:
    """For the model, and in the first step."""
    model = make_model("gpt_neox")
    if early:
        monkeypatch.setattr(transformers.Trainer, "__init__", lambda *_, **__: exhaust(model.train()))
    model.get_output_embeddings().register_forward_pre_hook(exhaust)
    with pytest.raises(OSError, match="out of memory at step 1; set BATCH_SIZE = 1 and ACCUMULATION_STEPS as many"):
        make_trainer(model, make_arguments(tmp_path, eval_strategy="no"), examples).train()


def test_a_run_is_in_fp32_if_fp16_overflows(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """As activations of about a million in one layer do; the weights fit into fp16."""
    for scale, fp16 in ((3e4, False), (1, True)):
        model = make_model("gpt_neox")
        for name, weight in model.named_parameters():
            weight.data *= scale if "layers.0.mlp" in name else 1
        args = make_arguments(tmp_path, fp16=True, max_steps=1, save_strategy="no")
        trainer = make_trainer(model, args, make_examples([(30, 10)] * 8))
        assert args.fp16 == fp16 and ("overflows in fp16" in capsys.readouterr().out) != fp16
        trainer.train()
        assert all(weight.isfinite().all() for weight in model.parameters())


def test_bar_and_loss_lines_tell_how_far_training_and_evaluation_are(tmp_path: Path, capsys, monkeypatch) -> None:
    """The first evaluation comes before the first step, and may take a while."""
    arguments = make_arguments(
        tmp_path, max_steps=2, evaluation_batch_size=3, save_strategy="no", eval_steps=2, logging_steps=2
    )
    arguments.disable_tqdm = False
    every_step = {"__init__": partialmethod(tqdm.__init__, mininterval=0)}  # is shown, however fast
    monkeypatch.setattr(callbacks, "tqdm", type("Bar", (tqdm,), every_step))
    make_trainer(make_model("gpt_neox"), arguments, make_examples([(5, 3)] * 8)).train()
    told, seen = capsys.readouterr()
    order = [seen.find("Evaluate 3/3"), seen.find("Train:  50%"), seen.rfind("Evaluate 2/3"), seen.rfind("Train: 100%")]
    assert min(order) > 0 and order == sorted(order)
    lines = [line[: line.rindex(" ")] for line in told.splitlines()]
    last = "step 2 of 2, epoch 1.00:"
    assert lines == ["step 0 of 2, epoch 0.00: validation loss", f"{last} loss", f"{last} validation loss"]


def test_a_model_that_sees_the_next_token_is_refused(examples: list, tmp_path: Path) -> None:
    """BERT as it is, not as a decoder."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    sizes["initializer_range"] = 1.0  # else a model that has learned nothing hardly attends to any token
    model = transformers.BertLMHeadModel(transformers.BertConfig(vocab_size=400, **sizes))
    with pytest.raises(InputError, match="BertLMHeadModel sees the tokens that it is to predict"):
        make_trainer(model, make_arguments(tmp_path), examples)
