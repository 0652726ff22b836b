"""BERTScore (Zhang et al. 2020): how close the contextual embeddings of a text are to those of its reference."""

from functools import cache, lru_cache

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils.logging import disable_progress_bar

from metareview.common.cli import InputError
from metareview.common.device import choose_device
from metareview.common.hub import reading

# The layer whose embeddings agree best with people, by the original package; of any other encoder the last one. The
# keys are the last part of a Hub id or folder: roberta-large is FacebookAI/roberta-large too.
LAYERS = {"bert-base-uncased": 9, "roberta-base": 10, "roberta-large": 17, "distilbert-base-uncased": 5,
          "deberta-base-mnli": 9, "deberta-large-mnli": 18, "deberta-xlarge-mnli": 40,
          "scibert_scivocab_uncased": 8}  # fmt: skip


@cache
def load_encoder(name: str) -> tuple[Tokenizer, PreTrainedModel]:
    """An encoder in fp32 and its tokenizer, from a folder or the Hub. Raises `InputError` if it cannot be used."""
    disable_progress_bar()
    with reading("encoder BERTSCORE_MODEL", name):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        own = {"trust_remote_code": False, "use_safetensors": True}  # neither code nor pickles of the model's
        model = AutoModel.from_pretrained(name, dtype=torch.float32, **own).eval()
    if model.config.is_encoder_decoder:
        raise InputError(f"BERTSCORE_MODEL {name!r} is no encoder alone; choose one such as roberta-large")
    return tokenizer, model


def _find_longest(tokenizer: Tokenizer, model: PreTrainedModel) -> int:
    """The most tokens of a text that an encoder reads."""
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    skipped = 0 if padding is None else padding + 1  # RoBERTa counts positions from the one after that of padding
    return min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512) - skipped)


@torch.inference_mode()
def _embed(text: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of a text as unit vectors (tokens, width), and which of them count: all but special ones (tokens,)."""
    tokenizer, model = load_encoder(name)
    model.to(choose_device()[0])  # not when it is loaded, which is before the models need the memory
    options = {"truncation": True, "max_length": _find_longest(tokenizer, model), "return_tensors": "pt"}
    # The space makes the first word one like all others for encoders of bytes, as it is in the original package.
    encoded = tokenizer(f" {text.strip()}", return_special_tokens_mask=True, **options).to(model.device)
    counts = encoded.pop("special_tokens_mask")[0] == 0
    layers = model(**encoded, output_hidden_states=True).hidden_states
    layer = LAYERS.get(name.rstrip("/").rpartition("/")[2], -1)
    return torch.nn.functional.normalize(layers[layer][0], dim=-1), counts


# Each is compared with the texts of all systems; about 1 MB each.
_embed_reference = lru_cache(maxsize=1_000)(_embed)


def bertscore(text: str, reference: str, name: str) -> float:
    """F1 by the encoder of this name, without idf weights and rescaling; 0 if a text has no tokens.

    Each token is matched with the most similar one of the other text: precision is the mean over the text's tokens,
    recall that over the reference's. Of texts longer than the encoder reads, often 512 tokens, the rest is left out.
    """
    if not (text.strip() and reference.strip()):
        return 0.0
    (tokens, counts), (reference_tokens, reference_counts) = _embed(text, name), _embed_reference(reference, name)
    if not (counts.any() and reference_counts.any()):
        return 0.0
    similarity = tokens @ reference_tokens.T
    precision = similarity.amax(1)[counts].mean().item()
    recall = similarity.amax(0)[reference_counts].mean().item()
    return 2 * precision * recall / (precision + recall)
