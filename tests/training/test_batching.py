"""Batches: the loss is the plain one, padding and order change memory and speed alone."""

from pathlib import Path

import pytest
import torch
from conftest import LENGTHS, make_arguments, make_examples, make_model, make_trainer, plain_losses
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from metareview.training.batching import LengthGroupedSampler, SummaryCollator, draw_validation, use_summary_loss


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
@pytest.mark.parametrize("takes_mask", [True, False])
@settings(max_examples=15)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 25)), min_size=1, max_size=6), batch=st.integers(1, 6)
)
def test_loss_and_gradients_are_those_of_the_plain_model(
    architecture: str, takes_mask: bool, lengths: list[tuple[int, int]], batch: int
) -> None:
    """Over lengths, batch sizes and accumulation: batches that are added up give what all examples alone give."""
    model, examples = make_model(architecture), make_examples(lengths)
    losses = torch.cat(plain_losses(model, examples))
    losses.mean().backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    computed = []
    model.get_output_embeddings().register_forward_hook(
        lambda layer, inputs, logits: computed.append(logits.shape[:-1].numel())
    )
    if not takes_mask:  # it computes all logits, as old architectures do
        forward = model.forward
        model.forward = lambda input_ids, labels=None, num_items_in_batch=None: forward(
            input_ids=input_ids, labels=labels, num_items_in_batch=num_items_in_batch
        )
    use_summary_loss(model)
    collate, loss = SummaryCollator(0), 0.0
    for start in range(0, len(examples), batch):
        inputs = collate(examples[start : start + batch])
        output = model(**inputs, num_items_in_batch=len(losses))
        output.loss.backward()
        loss += output.loss.item()
        assert output.logits is None  # they have done their work
    assert loss == pytest.approx(losses.mean().item(), rel=1e-5)
    # Of each token that is learned, and of so many others that there are few shapes.
    assert not takes_mask or sum(computed) < len(losses) + 64 * len(computed)
    assert model(**collate(examples)).loss.item() == pytest.approx(loss, rel=1e-5)  # the mean, if no number is given
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-6), name


@pytest.mark.parametrize(("context", "length"), [(10**9, 128), (90, 90), (85, 85)])
def test_lengths_are_rounded_up_within_the_context(context: int, length: int) -> None:
    """So that a CPU meets few shapes, and that positions beyond the context are never asked for."""
    batch = SummaryCollator(0, context)(make_examples([(41, 12), (60, 25)]))
    assert batch["input_ids"].shape == batch["labels"].shape == (2, length)
    assert (batch["labels"][:, 85:] == -100).all() and (batch["input_ids"][:, 85:] == 0).all()


def test_validation_is_the_same_sample_in_every_run_the_longest_first(tmp_path: Path) -> None:
    """Whatever the seed of the run, so that runs can be compared."""
    data = Dataset.from_list(make_examples(LENGTHS * 4))
    sample = draw_validation(data, 7)
    torch.manual_seed(9)
    assert sample.to_list() == draw_validation(data, 7).to_list() and len(draw_validation(data, 300)) == len(data)
    lengths = sample["length"][:]
    assert len(lengths) == 7 and lengths == sorted(lengths, reverse=True)
    trainer = make_trainer(make_model("gpt_neox"), make_arguments(tmp_path), make_examples(LENGTHS * 4), (), 7)
    [batch] = trainer.get_eval_dataloader()  # nothing shuffles them again
    learned = [sum(label != -100 for label in labels) for labels in sample["labels"]]
    assert (batch["labels"] != -100).sum(1).tolist() == learned


def test_steps_hold_examples_of_one_length_in_an_order_that_seed_and_epoch_decide() -> None:
    lengths = torch.randint(1, 1000, (402,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = LengthGroupedSampler(lengths, 4, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(402)) and list(sampler) == first
    steps = [[lengths[row] for row in step] for step in sampler.steps()]
    assert sum(max(step) - min(step) for step in steps) / 100 < 50  # about 600 if they were drawn at random
    assert max(steps[0]) == max(lengths) and [len(step) for step in steps] == [4] * 100 + [2]
    assert len({max(step) > 500 for step in steps[1:10]}) == 2  # the others are not sorted
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(402)) and list(sampler) != first
    assert list(LengthGroupedSampler(lengths, 4, seed=2)) != first
