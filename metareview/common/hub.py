"""The Hugging Face Hub: errors in plain words, tokens and rights, repositories."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import datasets
import huggingface_hub
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError, DatasetsError
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError

from metareview.common.cli import InputError, PublishingFlags

NOT_ON_HUB = (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError, DatasetNotFoundError)
CLIENT_ERRORS = (OSError, ValueError, RuntimeError, DatasetsError, SafetensorError, StopIteration)

PAUSES = (0.5, 1.5, 0)  # seconds after each attempt to connect: one that fails may have been an accident
CONNECTION_TIMEOUT = 5  # seconds


def is_transport_error(error: BaseException) -> bool:
    """Whether a request did not get through: `httpx.TransportError`, which newer clients import from `httpx2`."""
    classes = type(error).__mro__
    return any(cls.__name__ == "TransportError" and cls.__module__.startswith("httpx") for cls in classes)


def find_causes(error: BaseException) -> list[BaseException]:
    """An error, the error it was raised from, and so on."""
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    return causes


@contextmanager
def explain_hub(attempt: str, failure: type[Exception] = InputError, advice: str = "") -> Iterator[None]:
    """Turn what the Hub's clients raise into `failure`: what was attempted, why it did not work, what to do.

    The Hub's own troubles become an `OSError` whatever `failure` is: another argument would not help.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, CLIENT_ERRORS) and not is_transport_error(error):
            raise
        causes = find_causes(error)
        answers = [cause for cause in causes if isinstance(cause, hub_errors.HfHubHTTPError)]
        status = answers[0].response.status_code if answers else 0
        hub = f"the Hub ({huggingface_hub.constants.ENDPOINT})"
        if any(isinstance(cause, NOT_ON_HUB) for cause in causes):
            reason = f"it is neither here nor for you to use on {hub}; a private or gated one needs HF_TOKEN"
        elif answers:
            what_to_do = "try again later" if status >= 429 else "check the token in HF_TOKEN and what it may do"
            reason = f"{hub} answers {status} ({answers[0].server_message or 'without a reason'}); {what_to_do}"
        elif any(is_out_of_reach(cause) for cause in causes):
            reason = f"{hub} is out of reach; check the network, set HF_ENDPOINT to a mirror, or try: make demo"
        else:
            # A DatasetGenerationError only says that something went wrong; its cause says what.
            telling = causes[1] if isinstance(error, DatasetGenerationError) else error
            reason = " ".join(str(telling).split())[:200] or "it is empty"  # StopIteration of `datasets`
        raise (OSError if status >= 429 else failure)(f"{attempt}: {reason}{advice}") from error


@contextmanager
def reading(kind: str, name: str) -> Iterator[None]:
    """`explain_hub` for reading a model or data set, which `kind` says; `name` is a folder, a file or a Hub id."""
    if not Path(name).exists():
        try_hub()
    with explain_hub(f"cannot read the {kind} {name!r}"):
        yield


@cache
def try_hub() -> None:
    """Where there is no way to the Hub, let its clients take what is cached, as with HF_HUB_OFFLINE=1.

    By themselves they go on trying for half a minute, for one file after the other, with a line for each time.
    """
    for pause in PAUSES:
        if huggingface_hub.is_offline_mode():
            return
        try:
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=CONNECTION_TIMEOUT)
            return
        except Exception as error:
            if not any(cls.__name__ in ("ConnectError", "ConnectTimeout") for cls in type(error).__mro__):
                return  # whatever is wrong, there is a way
        time.sleep(pause)
    print(f"The Hub ({huggingface_hub.constants.ENDPOINT}) is out of reach; what is cached of it is used.")
    os.environ["HF_HUB_OFFLINE"] = "1"  # for other processes; those that have read it are told too
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def is_out_of_reach(error: BaseException) -> bool:
    """Whether an error of the Hub's clients means that there is no way to the Hub."""
    return isinstance(error, (ConnectionError, hub_errors.LocalEntryNotFoundError)) or is_transport_error(error)


def check_token() -> str:
    """The name of the user whose token is set. Raises `InputError` where there is none that may write."""
    if huggingface_hub.get_token() is None:
        raise InputError("--push_to_hub needs a token that may write; set HF_TOKEN or run: hf auth login")
    with explain_hub("--push_to_hub cannot begin"):
        user = huggingface_hub.whoami()
    if user["auth"].get("accessToken", {}).get("role") == "read":
        raise InputError(f"the token of {user['name']} may only read; --push_to_hub needs one that may write")
    return user["name"]


def open_repository(flags: PublishingFlags, name: str, repo_type: str) -> str:
    """The id of the repository to push to, made where there is none; `name` may lack its owner.

    To be called before the work, so that a refused token does not come to light after it. Raises `InputError`.
    """
    user = check_token()
    repo_id, private = name if "/" in name else f"{flags.hub_user or user}/{name}", flags.hub_private_repo
    with explain_hub(f"cannot push to {repo_id}"):
        huggingface_hub.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
        if private and not huggingface_hub.repo_info(repo_id, repo_type=repo_type).private:
            raise InputError(f"{repo_id} is public: make it private in its settings, or give --hub_private_repo False")
    return repo_id


def find_revision(name: str, files: tuple[str, ...]) -> str | None:
    """The commit of a model on the Hub, from which the cache holds one of `files`; None for a folder."""
    if Path(name).exists():
        return None
    cached = [huggingface_hub.try_to_load_from_cache(name, file) for file in files]
    return next((Path(path).parent.name for path in cached if isinstance(path, str)), None)


def public_name(name: str) -> str:
    """What a card calls a Hub id or a path: of an absolute path only the end, the rest is nobody else's business."""
    return Path(name).name if Path(name).is_absolute() else name
