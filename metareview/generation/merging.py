"""Merging: an adapter and its base as one model, compared with the two before it is believed."""

import shutil
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.common.cli import InputError
from metareview.common.files import replacing, write_json
from metareview.common.model import TRAINING_RECORD, load_model
from metareview.data.context import fit_prompts
from metareview.data.splits import load_source, read_record
from metareview.data.tokenization import find_ends, load_tokenizer
from metareview.generation.batches import generate
from metareview.generation.outputs import Output
from metareview.generation.variants import find_variants

COMPARED = 3  # papers
ADAPTER_FILES = ("adapter_*", "checkpoint-*", "run.json", "README.md", "previews.md", ".*")


def merge_adapter(name: str, processed_dir: str) -> None:
    """Write the adapter in the folder `name`, merged into its base, to NAME_merged, and print how far the two agree.

    Logits and texts are compared for the first validation papers of the processed data. Raises `InputError` for a
    folder without a finished adapter, and where NAME_merged holds something else than a merged model.
    """
    record, target = read_record(name, TRAINING_RECORD), Path(f"{Path(name)}_merged")
    if not record or not Path(name, "adapter_config.json").is_file():
        lacking = f"no adapter_config.json or no {TRAINING_RECORD} there"
        raise InputError(f"--merge {name!r}: {lacking}; name the folder of a finished run that trained an adapter")
    if target.exists() and not read_record(str(target), TRAINING_RECORD).get("settings", {}).get("merged"):
        raise InputError(f"{str(target)!r} exists and is no merged model; nothing was written. Move it away")
    [*_, variant] = find_variants([name], None, None, None)
    tokenizer = load_tokenizer(variant.settings)
    rows = load_source(processed_dir)["validation"].take(COMPARED).to_list()
    limits = [variant.settings.prompt_limit] * len(rows)
    prompts, _ = fit_prompts(rows, tokenizer, limits, variant.settings.prompt_template)
    options = prompts, tokenizer, variant.max_new_tokens, find_ends(name, tokenizer)
    logits, texts = _run(name, *options)
    with replacing(target) as new:
        from peft import AutoPeftModelForCausalLM  # takes a second, which a run without an adapter need not wait for

        AutoPeftModelForCausalLM.from_pretrained(name, dtype=torch.float32).merge_and_unload().save_pretrained(new)
        shutil.copytree(name, new, ignore=shutil.ignore_patterns(*ADAPTER_FILES), dirs_exist_ok=True)
        settings = record["settings"] | {"merged": True}  # else the two would count as seeds of one setting
        write_json(new / TRAINING_RECORD, record | {"settings": settings, "name": target.name, "hub_model_id": None})
    merged_logits, merged_texts = _run(str(target), *options)
    difference, scale = (logits - merged_logits).abs().max(), logits.abs().max()
    told = f"largest difference of the logits {difference:.1g} (the largest logit is {scale:.1f})"
    equal = sum(merged_texts[index] == text for index, text in texts.items())
    print(f"Merged: {target}; {told}; {equal} of {len(prompts)} texts are the same.")


def _run(
    name: str, prompts: list[list[int]], tokenizer: Tokenizer, max_new_tokens: int, ends: list[int]
) -> tuple[torch.Tensor, dict[int, Output]]:
    """The logits of a model (prompts, vocabulary), in fp32, after each prompt, and what it writes."""
    model = load_model(name).eval()
    with torch.inference_mode():
        logits = torch.stack([model(torch.tensor([prompt])).logits[0, -1] for prompt in prompts])
    return logits, dict(generate(model, tokenizer, prompts, max_new_tokens, 1, ends=ends))
