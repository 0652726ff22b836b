"""What stands in no review: numbers and terms like acronyms that a text has and none of its reviews, for you to check.

What is not in the reviews may still be true, for the writer may know the paper, and an invention in other words is not
seen. People write such terms, too: of 462 human meta-reviews of ICLR 2017, compared with all their reviews, 21% have one
or more (0.34 per text); compared with the reviews of the next paper, 43% (0.80 per text).
"""

import re
from itertools import pairwise

ROLES = "ac acs pc pcs sac sacs ae aes"
VENUES = "conf iclr icml neurips nips aaai ijcai cvpr iccv eccv acl naacl emnlp aistats uai colt corl tmlr jmlr arxiv"
COMMON = "ai ml sota tldr"
ALLOWED = {*ROLES.split(), *VENUES.split(), *COMMON.split()}  # may stand in any meta-review
ALLOWED_FORMS = re.compile(r"(anonreviewer|reviewer|r|ac)\d+|(19|20)\d\d|\d|10")  # R1; years; small counts and lists


def find_unsupported(text: str, review: str) -> list[str]:
    """The terms of a text that its reviews do not have, each once, in their order; both texts are cleaned alike.

    Case, punctuation and a plural s do not count, nor does a blank or its lack: CIFAR-10, CIFAR10 and CIFAR 10 are one.
    """
    there, found = collect(review), dict[str, str]()
    for word in split_words(text):
        key = normalize(word)
        if is_term(word) and key not in ALLOWED and not ALLOWED_FORMS.fullmatch(key) and key not in there:
            found.setdefault(key, word)
    return list(found.values())


def split_words(text: str) -> list[str]:
    """The words of a text, of which only letters and digits are left."""
    return [re.sub(r"[^a-zA-Z0-9]", "", word) for word in text.split()]


def is_term(word: str) -> bool:
    """Whether a word is a number or like an acronym: a digit or two capital letters in it."""
    return len(re.findall(r"[A-Z]", word)) > 1 or re.search(r"\d", word) is not None


def normalize(word: str) -> str:
    """A word as it is compared: GANs is GAN."""
    return re.sub(r"(?<=[A-Z0-9])s$", "", word).lower()


def collect(review: str) -> set[str]:
    """What reviews have, as it is compared: their words, two in a row as one, and the letters and digits of each."""
    words = split_words(review)
    joined = [one + other for one, other in pairwise(words)]
    parts = [part for word in words for part in re.findall(r"[a-zA-Z]+|\d+", word)]
    return {normalize(word) for word in (*words, *joined, *parts)}
