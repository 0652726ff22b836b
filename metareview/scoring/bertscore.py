"""BERTScore (Zhang et al. 2020): how close the contextual embeddings of a text are to those of its reference."""

from functools import cache

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.common.hub import reading

# The layer whose embeddings agree best with people, by the original package; of any other encoder the last one.
LAYERS = {"bert-base-uncased": 9, "roberta-base": 10, "roberta-large": 17, "distilbert-base-uncased": 5,
          "microsoft/deberta-base-mnli": 9, "microsoft/deberta-large-mnli": 18, "microsoft/deberta-xlarge-mnli": 40,
          "allenai/scibert_scivocab_uncased": 8}  # fmt: skip


@cache
def load_encoder(name: str) -> tuple[Tokenizer, PreTrainedModel]:
    """An encoder and its tokenizer, a folder or a Hub id. Raises `InputError` if it cannot be read."""
    with reading("model", name):
        own = {"trust_remote_code": False, "use_safetensors": True}
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        return tokenizer, AutoModel.from_pretrained(name, dtype=torch.float32, **own).eval()


@torch.inference_mode()
def embed(text: str, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of a text as unit vectors (tokens, width), and which of them count: all but special ones (tokens,)."""
    tokenizer, model = load_encoder(name)
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
    encoded = tokenizer(text, truncation=True, max_length=longest, return_special_tokens_mask=True, return_tensors="pt")
    counts = encoded.pop("special_tokens_mask")[0] == 0
    layers = model(**encoded, output_hidden_states=True).hidden_states
    return torch.nn.functional.normalize(layers[LAYERS.get(name, -1)][0], dim=-1), counts


def bertscore(text: str, reference: str, name: str) -> tuple[float, float, float]:
    """Precision, recall and F1, without idf weights and rescaling; 0 for a text without tokens.

    Each token is matched with the most similar one of the other text: precision is the mean over the text's tokens,
    recall that over the reference's.
    """
    (tokens, counts), (reference_tokens, reference_counts) = embed(text, name), embed(reference, name)
    if not (counts.any() and reference_counts.any()):
        return 0.0, 0.0, 0.0
    similarity = tokens @ reference_tokens.T
    precision = similarity.amax(1)[counts].mean().item()
    recall = similarity.amax(0)[reference_counts].mean().item()
    return precision, recall, 2 * precision * recall / (precision + recall)
