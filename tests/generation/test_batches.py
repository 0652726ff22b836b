"""Writing meta-reviews: batches, stopping, how long a text may be."""

import json
from pathlib import Path

import pytest
import torch
from conftest import make_model
from transformers import GenerationConfig

from metareview.generation.batches import fit_batch, generate
from metareview.generation.decoding import Decoding
from metareview.generation.outputs import Output, identify, open_log, read_outputs


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


class Ids:
    """A tokenizer that shows the token ids; any of them can be its end token."""

    pad_token_id = 399

    def __init__(self, end: int) -> None:
        self.eos_token_id = end

    def decode(self, ids: list[int], **_: bool) -> str:
        return " ".join(map(str, ids))


@pytest.mark.parametrize(
    "decoding", [Decoding(), Decoding(3), Decoding(temperature=1.0), Decoding(num_beams=2)], ids=str
)
@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
def test_rows_that_stop_early_leave_the_others_as_they_are(architecture: str, decoding: Decoding) -> None:
    """Whatever token ends the texts, rows leave the batch at all kinds of steps, and each text is as if alone."""
    model = make_model(architecture).eval()
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(1, 399, (length,), generator=generator).tolist() for length in (5, 60, 23, 11, 42, 8, 30)]
    endless = dict(generate(model, Ids(400), prompts, 24, 7, decoding))
    tokens = [output.text.split() for output in endless.values()]
    ends = sorted({token for text in tokens for token in text}, key=lambda end: -sum(end in text for text in tokens))
    for end in map(int, ends[:6]):
        written = dict(generate(model, Ids(end), prompts, 24, 7, decoding))
        for index, prompt in enumerate(prompts):
            assert written[index] == dict(generate(model, Ids(end), [prompt], 24, 1, decoding))[0]
            before, found, _ = f" {endless[index].text} ".partition(f" {end} ")
            if decoding.num_beams == 1:
                assert written[index].text == before.strip() and written[index].stopped == bool(found)


@pytest.mark.parametrize(("architecture", "row"), [("gpt_neox", 2 * 2 * 32 * 100 * 4), ("llama", 2 * 2 * 32 * 100 * 4)])
def test_a_batch_is_smaller_where_memory_is_small(architecture: str, row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row has keys and values in two layers, each 32 numbers wide, in fp32."""
    model = make_model(architecture)
    assert sum(part.nbytes for layer in model(torch.ones(1, 100).long()).past_key_values for part in layer[:2]) == row
    for free, rows in ((100 * row, 7), (10.5 * row, 5), (row, 1), (0, 1)):
        monkeypatch.setattr("metareview.generation.batches.free_memory", lambda free=free: free)
        assert fit_batch(model, 100, 7) == rows


def test_stopping_is_told_from_being_cut_off(tokenizer) -> None:
    model = make_model("gpt_neox").eval()
    prompt = tokenizer("paper").input_ids
    text = dict(generate(model, tokenizer, [prompt], 5, batch_size=1))[0]
    assert not text.stopped and text.tokens == 5
    model.lm_head.weight.data[:] = 0  # now all logits are equal, and the first token of all is the end token
    assert dict(generate(model, tokenizer, [prompt], 5, batch_size=1))[0] == Output("", True, 1)


def test_settings_that_a_model_brings_do_not_change_the_decoding(tokenizer) -> None:
    model, prompt = make_model("gpt_neox").eval(), tokenizer("the method is convincing").input_ids
    plain = dict(generate(model, tokenizer, [prompt], 20, batch_size=1))[0]
    model.generation_config = GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=2, eos_token_id=[3, 4, 5])
    assert dict(generate(model, tokenizer, [prompt], 20, batch_size=1))[0] == plain


def test_a_log_that_was_cut_off_gives_the_lines_that_are_whole(tmp_path: Path) -> None:
    log = tmp_path / "a_outputs.jsonl"
    assert read_outputs(log) == {}
    with open_log(log) as file:
        file.write('{"key": "a", "text": "one", "stopped": true, "tokens": 3}\n{"key": "b", "te')
    assert read_outputs(log) == {"a": Output("one", True, 3)}
    with open_log(log) as file:
        file.write('{"key": "b", "text": "two", "stopped": false, "tokens": 5}\n')
    assert read_outputs(log) == {"a": Output("one", True, 3), "b": Output("two", False, 5)}
    strange = [
        '{"key": "c", "text": {}, "stopped": true, "tokens": 1}',
        '{"key": "c", "text": "", "stopped": 1, "tokens": 1}',
    ]
    log.write_text("\n".join([*strange, '{"key": ["c"], "text": "", "stopped": true, "tokens": 1}', "[" * 10**5, "7"]))
    assert read_outputs(log) == {}


def test_a_folder_is_known_by_its_weights_wherever_it_is(tmp_path: Path) -> None:
    """An adapter by those of its base too, which may be replaced in their place."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("weights")
        (tmp_path / name / "README.md").write_text(name)
    assert identify(str(tmp_path / "a")) == identify(str(tmp_path / "b"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_text("adapter")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "a")}))
    before = identify(str(adapter))
    (tmp_path / "a" / "model.safetensors").write_text("replace")
    assert identify(str(tmp_path / "a")) != identify(str(tmp_path / "b"))
    assert identify(str(adapter)) != before
