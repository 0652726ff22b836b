"""What stands in no review: numbers and acronyms by hand, and rules that hold for all texts."""

import pytest

from metareview.data.cleaning import clean_text
from metareview.scoring.unsupported import find_unsupported

REVIEW = "The GANs are trained on CIFAR-10 for 300 epochs and reach 93.5% on ImageNet and WMT 14, as Table 2 says."
CASES = {
    "The GAN reaches 93.5% on CIFAR10 and on imagenet.": [],
    "A CIFAR 10 model, trained for 300 epochs, and one for WMT14.": [],
    "A VAE reaches 97% on MNIST; the VAEs of others do not.": ["VAE", "97", "MNIST"],
    "As R1 and AnonReviewer3 say, the AC finds the SOTA of 2019 missing, which was shown at ICLR 2020.": [],
    "All 4 reviewers raise 3 points: 1) text, 2) tables.": [],
    "It was trained for 300 hours on 64 GPUs with ResNet50.": ["64", "GPUs", "ResNet50"],
    "The method is Bayesian and the results of Section 12 are good.": ["12"],
    "": [],
}


@pytest.mark.parametrize(("text", "terms"), CASES.items())
@pytest.mark.parametrize("keep", ["a-zA-Z0-9.,;:!?()'%-", "a-zA-Z0-9"])
def test_terms_by_hand(text: str, terms: list[str], keep: str) -> None:
    assert find_unsupported(clean_text(text, keep), clean_text(REVIEW, keep)) == terms
