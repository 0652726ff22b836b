"""What a model has learned: hashes of its training texts that do not depend on the cleaning."""

from pathlib import Path

from conftest import make_tokenizer
from datasets import Dataset

from metareview.data.cleaning import clean_text
from metareview.data.learned import LEARNED, find_learned, hash_reviews, hash_text, hash_training_texts, load_learned

TEXT = "A naïve method, with a gain of 2.5% (over “X”)!\nWeak accept."


def test_a_text_has_one_hash_however_it_is_cleaned_and_another_text_another_hash() -> None:
    for keep in ("a-zA-Z0-9", "a-zA-Z0-9.,;:!?()'-"):
        assert hash_text(clean_text(TEXT, keep)) == hash_text(TEXT) and len(hash_text(TEXT)) == 8
    texts = [TEXT, TEXT.replace("2.5", "2.6"), "这篇论文用 CNN", "那个实验用 CNN", "CNN", ""]
    assert len(set(map(hash_text, texts))) == len(texts)


def test_a_model_keeps_the_hashes_of_what_it_learned(tmp_path: Path) -> None:
    texts = Dataset.from_list([{"review": "second\n\nfirst", "summary": "short"}])
    content = hash_training_texts(texts, Dataset.from_list([]), make_tokenizer())
    (tmp_path / "checkpoint-12").mkdir()
    assert load_learned(tmp_path) == frozenset()  # as of a base
    (tmp_path / LEARNED).write_bytes(content)
    assert load_learned(tmp_path) == {hash_reviews("First.\n\nsecond"), hash_text("Short!")}
    cases = ["First!\n\nSecond!", "first", "other", ""], ["", "", "SHORT", ""]
    assert find_learned(load_learned(tmp_path), *cases) == [0, 2]
    assert load_learned(tmp_path / "checkpoint-12") == load_learned(str(tmp_path))


def test_without_the_texts_the_summaries_are_known() -> None:
    tokenizer = make_tokenizer()
    labels = [-100, -100, *tokenizer("Decision: yes\nThe Summary")["input_ids"], tokenizer.eos_token_id]
    examples = Dataset.from_list([{"labels": labels}])
    content = hash_training_texts(None, examples, tokenizer, "Decision: {decision}\n{summary}")
    assert content == hash_text("the summary")
