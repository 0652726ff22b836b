"""BERTScore: that of the original package, and what an encoder cannot read."""

from pathlib import Path

import pytest
import torch
from transformers import BartConfig, BartModel, BertConfig, BertModel, BertTokenizer, RobertaConfig, RobertaModel

from metareview.common.cli import InputError
from metareview.scoring import bertscore as module
from metareview.scoring.bertscore import bertscore

VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] the a paper proof method baseline is good bad lacks new work ##s . ,"
WORDS = VOCABULARY.split()
SIZES = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
PAIRS = [("The paper is good.", "a good paper"), ("the proof lacks works", "The method, unheard of, lacks baselines.")]


def save_encoder(model: torch.nn.Module, folder: Path, **options: int) -> str:
    """An encoder and a WordPiece tokenizer of a few words."""
    BertTokenizer({word: place for place, word in enumerate(WORDS)}, **options).save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A random BERT that reads 12 tokens, two of them special, and whose embeddings differ from word to word."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(max_position_embeddings=12, initializer_range=0.5, intermediate_size=64, **SIZES))
    return save_encoder(model, tmp_path, model_max_length=12)  # which the original package needs


@pytest.mark.parametrize("layer", [3, 1])  # the last one, as of any encoder, and one that LAYERS names
def test_it_is_what_the_original_package_says(layer: int, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = pytest.importorskip("bert_score")
    if layer == 1:
        monkeypatch.setitem(module.LAYERS, Path(encoder).name, layer)
    texts, references = map(list, zip(*PAIRS, strict=True))
    *_, expected = original.score(texts, references, model_type=encoder, num_layers=layer, device="cpu")
    scores = [bertscore(text, reference, encoder) for text, reference in PAIRS]
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)


def test_identical_texts_have_one_and_empty_ones_nothing(encoder: str) -> None:
    assert bertscore("a new proof", "a new proof", encoder) == pytest.approx(1)
    for text, reference in (("", "a"), ("a", " \n"), ("\x07", "a")):
        assert bertscore(text, reference, encoder) == 0


def test_what_is_longer_than_the_encoder_reads_is_left_out(encoder: str, tmp_path: Path) -> None:
    config = RobertaConfig(max_position_embeddings=14, **SIZES)  # two positions are before the first token
    long, begin = "a proof lacks " * 20, "a proof lacks a proof lacks a proof lacks a"
    for name in (encoder, save_encoder(RobertaModel(config), tmp_path / "roberta")):
        assert bertscore(long, "the method", name) == bertscore(begin, "the method", name)


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^cannot read the encoder BERTSCORE_MODEL 'no/such': "):
        module.load_encoder("no/such")
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    name = save_encoder(BartModel(BartConfig(vocab_size=len(WORDS), **sizes)), tmp_path)
    with pytest.raises(InputError, match="is no encoder alone; choose one such as roberta-large"):
        module.load_encoder(name)
