"""Devices: a model that overflows in fp16 is noticed, one that does not is left as it is."""

from pathlib import Path

import pytest
import torch
from conftest import make_arguments, make_examples, make_model, make_trainer

from metareview.common.device import overflows_in_fp16


def test_a_run_is_in_fp32_if_fp16_overflows(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """As activations of about a million in one layer do; the weights fit into fp16."""
    for scale, fp16 in ((3e4, False), (1, True)):
        model = make_model("gpt_neox")
        for name, weight in model.named_parameters():
            weight.data *= scale if "layers.0.mlp" in name else 1
        assert (
            overflows_in_fp16(model.train(), {"input_ids": torch.arange(1, 41).view(2, 20)}) != fp16 and model.training
        )
        args = make_arguments(tmp_path, fp16=True, max_steps=1, save_strategy="no")
        trainer = make_trainer(model, args, make_examples([(30, 10)] * 8))
        assert args.fp16 == fp16 and ("overflows in fp16" in capsys.readouterr().out) != fp16
        trainer.train()
        assert all(weight.isfinite().all() for weight in model.parameters())
