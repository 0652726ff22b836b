"""What the Hub's clients raise, in plain words. The scripts against a Hub are in test_hub_scripts.py."""

import sys
import time

import huggingface_hub
import pytest
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import errors
from servers.hub import Hub

from metareview.common.cli import InputError
from metareview.common.hub import explain_hub, public_name, reading, try_hub

httpx = sys.modules[errors.HTTPError.__module__.partition(".")[0]]  # the client's own, which newer versions call httpx2


def answer(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    """The error for an answer of the Hub."""
    response = httpx.Response(status, request=httpx.Request("GET", "http://hub/api"))
    return kind("said by the client", response=response, server_message="said by the Hub")


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (answer(errors.RepositoryNotFoundError, 404), InputError, "not a local folder, and not on the Hub"),
        (answer(errors.HfHubHTTPError, 403), InputError, r"answers 403 \(said by the Hub\); check the token"),
        (answer(errors.HfHubHTTPError, 429), OSError, r"answers 429 \(said by the Hub\); try again later"),
        (httpx.ConnectError("no route"), InputError, "cannot reach the Hub .*; check the network"),
        (ValueError("of two\n  lines"), InputError, "of two lines$"),
        (KeyError("rope_theta"), InputError, r"KeyError\('rope_theta'\)$"),
    ],
)
def test_errors_become_one_line(error: Exception, raised: type[Exception], words: str) -> None:
    with pytest.raises(raised, match=f"^reading it: .*{words}") as told, explain_hub("reading it"):
        raise error
    assert "\n" not in str(told.value)


def test_the_cause_tells_more_than_what_was_made_of_it() -> None:
    with pytest.raises(InputError, match=r"it: line 3 is wrong; then$"), explain_hub("reading it", advice="; then"):
        raise DatasetGenerationError("an error occurred") from ValueError("line 3 is wrong")
    with pytest.raises(OSError, match="answers 500"), explain_hub("reading it"):  # the Hub's troubles, however deep
        raise ValueError("something went wrong") from answer(errors.HfHubHTTPError, 500)


def test_a_card_names_no_path_of_this_machine() -> None:
    assert [public_name(name) for name in ("me/model", "data", "/home/me/model")] == ["me/model", "data", "model"]


def test_one_connection_that_fails_is_no_reason_to_go_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three are: test_hub_scripts.py."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda _: monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url))
    try_hub.cache_clear()
    with reading("model", "user/model"):
        assert hub.url == huggingface_hub.constants.ENDPOINT and not huggingface_hub.is_offline_mode()
    try_hub.cache_clear()
