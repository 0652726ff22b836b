"""What the Hub's clients raise, in plain words. The scripts against a Hub are in test_hub_scripts.py."""

import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import errors

from metareview.common.cli import InputError
from metareview.common.hub import PAUSES, explain_hub, public_name, reading, try_hub

NAME = next(base.__module__ for base in errors.HfHubHTTPError.__mro__ if base.__module__.startswith("httpx"))
httpx = importlib.import_module(NAME.partition(".")[0])  # the client's own, which newer versions call httpx2


def answer(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    """The error for an answer of the Hub."""
    response = httpx.Response(status, request=httpx.Request("GET", "http://hub/api"))
    return kind("said by the client", response=response, server_message="said by the Hub")


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (answer(errors.RepositoryNotFoundError, 404), InputError, "neither here nor for you to use on the Hub"),
        (answer(errors.HfHubHTTPError, 403), InputError, r"answers 403 \(said by the Hub\); check the token"),
        (answer(errors.HfHubHTTPError, 429), OSError, r"answers 429 \(said by the Hub\); try again later"),
        (answer(errors.HfHubHTTPError, 503), OSError, "answers 503"),
        (httpx.ConnectError("no route"), InputError, "out of reach; check the network"),
        (ConnectionError("no route"), InputError, "out of reach"),
        (ValueError("of two\n  lines"), InputError, "of two lines$"),
    ],
)
def test_errors_become_one_line(error: Exception, raised: type[Exception], words: str) -> None:
    with pytest.raises(raised, match=f"^reading it: .*{words}") as told, explain_hub("reading it"):
        raise error
    assert "\n" not in str(told.value)


def test_the_cause_tells_more_than_what_was_made_of_it() -> None:
    with (
        pytest.raises(InputError, match=r"reading it: line 3 is wrong; then$"),
        explain_hub("reading it", advice="; then"),
    ):
        raise DatasetGenerationError("an error occurred") from ValueError("line 3 is wrong")
    with pytest.raises(OSError, match="answers 500"), explain_hub("reading it"):  # the Hub's troubles, however deep
        try:
            raise answer(errors.HfHubHTTPError, 500)
        except errors.HfHubHTTPError as error:
            raise ValueError("something went wrong") from error


def test_an_error_of_ours_stays_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), explain_hub("reading it"):
        raise ZeroDivisionError


def test_a_path_of_this_machine_is_not_told() -> None:
    assert [public_name(name) for name in ("me/model", "data", "/home/me/model")] == ["me/model", "data", "model"]


@pytest.mark.parametrize(
    ("answers", "asked", "offline"),
    [
        ([httpx.ConnectError("no such host")] * 3, 3, True),
        ([httpx.ConnectTimeout("nobody there")] * 3, 3, True),
        ([httpx.ConnectError("refused"), None], 2, False),
        ([httpx.ReadTimeout("slow")], 1, False),
        ([None], 1, False),
    ],
)
def test_without_a_network_what_is_cached_is_used_at_once(
    answers: list, asked: int, offline: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The clients would try each file six times. One connection that fails is no reason yet."""
    requests: list[str] = []

    def head(url: str, timeout: float) -> None:
        requests.append(url)
        if error := answers[len(requests) - 1]:
            raise error

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for settings in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(settings, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("metareview.common.hub.time.sleep", lambda _: None)
    monkeypatch.setattr("metareview.common.hub.huggingface_hub.get_session", lambda: SimpleNamespace(head=head))
    try_hub.cache_clear()
    for name in (str(Path(__file__).parent), "user/model", "user/other"):  # a folder is no matter of the Hub's
        with reading("model", name):
            assert len(requests) == (0 if name == str(Path(__file__).parent) else asked)
    assert huggingface_hub.is_offline_mode() == datasets.config.HF_HUB_OFFLINE == offline
    assert os.environ["HF_HUB_OFFLINE"] == str(int(offline))
    assert ("out of reach; what is cached of it is used" in capsys.readouterr().out) == offline
    assert sum(PAUSES) < 5
    try_hub.cache_clear()
