"""What stands in no review: numbers and terms like acronyms that a text has and none of its reviews, for you to check.

What is not in the reviews may still be true, for the writer may know the paper, and an invention in other words is not
seen. People write such terms, too: of 462 human meta-reviews of ICLR 2017, compared with all their reviews, 21% have
one or more (0.34 per text); compared with the reviews of the next paper, 43% (0.80 per text).
"""

import re
from itertools import pairwise

_VENUES = "conf iclr icml neurips nips aaai ijcai cvpr iccv eccv acl naacl emnlp aistats uai colt corl tmlr jmlr arxiv"
_COMMON = "ac acs pc pcs sac sacs ae aes ai ml sota tldr"
_ALLOWED = {*_VENUES.split(), *_COMMON.split()}  # may be in any meta-review
_TERM = re.compile(r"[A-Z].*[A-Z]|\d")  # like an acronym, or with a number
_ALLOWED_FORMS = re.compile(r"(anonreviewer|reviewer|r|ac)\d+|(19|20)\d\d|\d|10")  # R1; years; small counts and lists


def find_unsupported(text: str, review: str) -> list[str]:
    """The terms of a text that its reviews do not have, each once, in their order; both texts are cleaned alike.

    Case, punctuation and a plural s do not count, nor does a blank or its lack: CIFAR-10, CIFAR10 and CIFAR 10 are one.
    """
    supported, terms = _ALLOWED | _collect(review), dict[str, str]()
    for word in _split_words(text):
        key = _normalize(word)
        if _TERM.search(word) and key not in supported and not _ALLOWED_FORMS.fullmatch(key):
            terms.setdefault(key, word)
    return list(terms.values())


def _split_words(text: str) -> list[str]:
    """The words of a text, of which only letters and digits are left."""
    return [re.sub(r"[^a-zA-Z0-9]", "", word) for word in text.split()]


def _normalize(word: str) -> str:
    """A word as it is compared: GANs is GAN."""
    return re.sub(r"(?<=[A-Z0-9])s$", "", word).lower()


def _collect(review: str) -> set[str]:
    """What reviews have, as it is compared: their words, two in a row as one, and the letters and digits of each."""
    words = _split_words(review)
    joined = [one + other for one, other in pairwise(words)]
    parts = [part for word in words for part in re.findall(r"[a-zA-Z]+|\d+", word)]
    return {_normalize(word) for word in (*words, *joined, *parts)}
