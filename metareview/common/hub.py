"""The Hugging Face Hub: errors in plain words, tokens and rights, repositories."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import datasets
import huggingface_hub
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub import errors
from huggingface_hub.utils import validate_repo_id

from metareview.common.cli import InputError
from metareview.common.flags import PublishingFlags

_NO_REPOSITORY = (errors.RepositoryNotFoundError, errors.HFValidationError, DatasetNotFoundError)
# An HTTPError (of httpx or httpx2) that is not an HfHubHTTPError is a request that did not get through.
_NO_ANSWER = (ConnectionError, errors.LocalEntryNotFoundError, errors.HTTPError)


@contextmanager
def explain_hub(attempt: str, failure: type[Exception] = InputError, advice: str = "") -> Iterator[None]:
    """Turn what libraries raise about a repository into `failure`: what was attempted, why it failed, what to do.

    Failures of the Hub itself become an `OSError`, whatever `failure` is.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        causes: list[BaseException] = [error]
        while cause := causes[-1].__cause__ or causes[-1].__context__:
            causes.append(cause)
        answer = next((cause for cause in causes if isinstance(cause, errors.HfHubHTTPError)), None)
        status = answer.response.status_code if answer else 0
        hub = f"the Hub ({huggingface_hub.constants.ENDPOINT})"
        # A DatasetGenerationError only says that something went wrong; its cause says what.
        telling = causes[1] if isinstance(error, DatasetGenerationError) else error
        is_plain = isinstance(telling, OSError | ValueError | RuntimeError)
        reason = " ".join(str(telling if is_plain else repr(telling)).split())[:200]
        wrong_name = isinstance(error, errors.HFValidationError)  # which says what a Hub id may consist of
        if any(isinstance(cause, _NO_REPOSITORY) for cause in causes) and not wrong_name:
            private = "a private or gated one needs HF_TOKEN"
            reason = f"not a local folder, and not on {hub} or not accessible to you; {private}"
        elif answer:
            advised = "try again later" if status >= 429 else "check the token in HF_TOKEN and its permissions"
            reason = f"{hub} answers {status} ({answer.server_message or 'no reason given'}); {advised}"
        elif any(isinstance(cause, _NO_ANSWER) for cause in causes):
            reason = f"cannot reach {hub}; check the network, set HF_ENDPOINT to a mirror, or try: make demo"
        raise (OSError if status >= 429 else failure)(f"{attempt}: {reason}{advice}") from error


@contextmanager
def reading(kind: str, name: str) -> Iterator[None]:
    """`explain_hub` for reading a model or data set, as `kind` says; `name` is a folder, a file or a Hub id."""
    if not Path(name).exists():
        try_hub()
    with explain_hub(f"cannot read the {kind} {name!r}"):
        yield


@cache
def try_hub() -> None:
    """If the Hub cannot be reached, make its clients use what is cached; else they try for half a minute per file."""
    for pause in (0.5, 1.5, 0):  # seconds: one failed connection may be an accident
        if huggingface_hub.is_offline_mode():
            return
        try:
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
            return
        except Exception as error:
            if type(error).__name__ not in ("ConnectError", "ConnectTimeout"):  # of httpx or httpx2
                return  # the Hub was reached
        time.sleep(pause)
    print(f"Cannot reach the Hub ({huggingface_hub.constants.ENDPOINT}); using what is cached.")
    os.environ["HF_HUB_OFFLINE"] = "1"  # for other processes; libraries that have already read it are told too
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def check_token() -> str:
    """The name of the user whose token is set. Raises `InputError` if there is none with write access."""
    if huggingface_hub.get_token() is None:
        raise InputError("--push_to_hub needs a token with write access; set HF_TOKEN or run: hf auth login")
    with explain_hub("--push_to_hub cannot begin"):
        user = huggingface_hub.whoami()
    if user["auth"].get("accessToken", {}).get("role") == "read":
        raise InputError(f"the token of {user['name']} is read-only; --push_to_hub needs one with write access")
    return user["name"]


def open_repository(flags: PublishingFlags, name: str, repo_type: str) -> str:
    """The id of the repository to push to, created if need be: before the work, so that a refused token shows at once.

    `name` may lack its owner. Raises `InputError`.
    """
    renaming = "--hub_model_id" if repo_type == "model" else "--hub_dataset_id, --hub_tokenized_id"
    with explain_hub(f"cannot push to {name}", advice=f" Give another name: {renaming}"):
        validate_repo_id(name)
    user = check_token()
    repo_id = name if "/" in name else f"{flags.hub_user or user}/{name}"
    with explain_hub(f"cannot push to {repo_id}"):
        huggingface_hub.create_repo(repo_id, repo_type=repo_type, private=flags.hub_private_repo, exist_ok=True)
        if flags.hub_private_repo and not huggingface_hub.repo_info(repo_id, repo_type=repo_type).private:
            raise InputError(f"{repo_id} is public: make it private in its settings, or give --hub_private_repo False")
    return repo_id


def public_name(name: str) -> str:
    """How a card names a Hub id or a path: only the last part of an absolute path, the rest is private."""
    return Path(name).name if Path(name).is_absolute() else name
