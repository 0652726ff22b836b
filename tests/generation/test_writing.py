"""Writing: what is printed about the texts. What is written, and what is taken from the log, whole scripts show."""

import pytest

from metareview.data.tokenization import TokenizationArguments
from metareview.generation.variants import Variant
from metareview.generation.writing import print_remarks


def test_a_remark_is_one_line_whichever_models_it_is_about(capsys: pytest.CaptureFixture) -> None:
    remarks = {"a": ["cut", "there"], "b": ["cut", "there"], "c": ["cut"], "d": ["cut", "1 there"]}
    settings = TokenizationArguments("m", "plain")
    variants = [Variant(name, name, {}, None, True, settings, "a-z", 9, remarks=each) for name, each in remarks.items()]
    print_remarks(variants)
    assert capsys.readouterr().out == "All models: cut.\na, b: there.\nd: 1 there.\n"
    print_remarks(variants[:1])
    assert capsys.readouterr().out == "a: cut.\na: there.\n"
