"""What the Hub's clients raise, in plain words. The scripts against a Hub are in test_hub_scripts.py."""

import os
import sys
import time
from pathlib import Path

import datasets
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
        (ConnectionError("no route"), InputError, "cannot reach"),
        (ValueError("of two\n  lines"), InputError, "of two lines$"),
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


def test_an_error_of_ours_and_a_name_stay_but_not_a_path_of_this_machine() -> None:
    with pytest.raises(ZeroDivisionError), explain_hub("reading it"):
        raise ZeroDivisionError
    assert [public_name(name) for name in ("me/model", "data", "/home/me/model")] == ["me/model", "data", "model"]


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_without_a_network_what_is_cached_is_used_at_once(failures: int, hub: Hub, monkeypatch, capsys) -> None:
    """The clients would try each file six times. One connection that fails is no reason yet."""
    addresses = ["http://127.0.0.1:9"] * failures + [hub.url]  # of one attempt after the other

    def wait(_: float = 0) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", addresses.pop(0))

    wait()
    monkeypatch.setattr(time, "sleep", wait)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    try_hub.cache_clear()
    with reading("model", str(Path(__file__).parent)):  # a folder is no matter of the Hub's
        assert len(addresses) == failures
    for name in ("user/model", "user/other"):
        with reading("model", name):
            assert addresses == []
    offline = failures == 3
    assert huggingface_hub.is_offline_mode() == datasets.config.HF_HUB_OFFLINE == offline
    assert os.environ["HF_HUB_OFFLINE"] == str(int(offline))
    assert ("using what is cached" in capsys.readouterr().out) == offline
    try_hub.cache_clear()
