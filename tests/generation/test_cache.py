"""The KV cache: a layer with buffers holds what the library's holds."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from metareview.generation.cache import RoomyLayer


@given(steps=st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=6), rows=st.integers(1, 3))
def test_tokens_come_and_rows_go(steps: list[tuple[int, bool]], rows: int) -> None:
    singles, stock = [DynamicLayer() for _ in range(rows)], DynamicLayer()
    for single in singles:
        single.update(*torch.rand(2, 1, 2, 3, 4))
    roomy = RoomyLayer(singles[0], rows, capacity=3 + 6 * 5)
    for row, single in enumerate(singles):
        roomy.fill_row(row, single)
    stock.update(*(torch.cat([getattr(single, name) for single in singles]) for name in ("keys", "values")))
    for tokens, selects in steps:
        states = torch.rand(2, rows, 2, tokens, 4)
        assert all(map(torch.equal, roomy.update(*states), stock.update(*states)))
        if selects:
            rows = max(1, rows - 1)
            for layer in (roomy, stock):
                layer.reorder_cache(torch.arange(rows).flip(0))
        assert torch.equal(roomy.keys, stock.keys) and torch.equal(roomy.values, stock.values)
        assert roomy.get_seq_length() == stock.get_seq_length()
