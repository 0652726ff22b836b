"""Names of runs: readable, the same for the same settings, different for different ones."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metareview.data.prompts import PROMPTS
from metareview.training.run_name import HASHED, LONGEST_NAME, NAMED, hash_settings, name_run

PYTHIA = "EleutherAI/pythia-70m"
DEFAULTS = {name: default for name, (_, default) in NAMED.items()} | HASHED


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, ""),
        ({"learning_rate": 1.5e-3, "num_train_epochs": 0.5}, "_lr1.5e-3_epochs0.5"),
        ({"learning_rate": 0.01, "seed": 7, "examples_per_step": 8}, "_lr0.01_batch8_seed7"),
        ({"use_lora": True, "lora_r": 8}, "_lora_r8"),
        ({"prompt_template": PROMPTS["instruction"]}, "_prompt-instruction"),
        ({"dataset_name": "data/my reviews.csv"}, "_my-reviews"),
        ({"seed": 7, "trainer": {"warmup_steps": 1}}, f"_seed7_{hash_settings({'trainer': {'warmup_steps': 1}})}"),
    ],
)
def test_what_differs_from_the_defaults_is_named(settings: dict[str, Any], name: str) -> None:
    assert name_run(PYTHIA, DEFAULTS | settings) == f"pythia-70m_finetuned{name}"


VALUES = {
    "learning_rate": st.sampled_from([1e-5, 2e-5, 1e-4, 1.25e-4, 1e-3, 0.1]),
    "num_train_epochs": st.sampled_from([0.25, 1, 2, 10]),
    "seed": st.integers(0, 99),
    "keep": st.sampled_from(["a-zA-Z0-9", "a-z", "a-zA-Z0-9.,"]),
    "use_lora": st.booleans(),
    "examples_per_step": st.integers(1, 16),
    "prompt_template": st.sampled_from([*PROMPTS.values(), "Reviews: {review}\n"]),
    "max_length": st.sampled_from([None, 512, 1024]),
    "trainer": st.sampled_from([{}, {"warmup_steps": 1}, {"warmup_steps": 2}]),
}


@given(st.fixed_dictionaries(VALUES), st.fixed_dictionaries(VALUES))
def test_the_same_settings_have_the_same_name_and_others_another(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = name_run(PYTHIA, DEFAULTS | one), name_run(PYTHIA, DEFAULTS | other)
    assert (first == second) == (one == other)
    assert "/" not in first and " " not in first


def test_a_long_name_is_cut_and_still_its_own() -> None:
    names = {name_run("a" * 200, DEFAULTS | {"seed": seed}) for seed in range(5)}
    assert len(names) == 5 and all(len(name) <= LONGEST_NAME for name in names)
    name = name_run("model", DEFAULTS | {"dataset_name": "d" * 63, "learning_rate": 1e-3, "num_train_epochs": 2})
    assert name.rpartition("_")[0] == f"model_finetuned_{'d' * 63}"  # lr1e-3 would be cut to lr1e
