"""The constants of processing_meta_review.py: as they were when data were made, and as they are now."""

import ast
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve().parent.parent.parent / "processing_meta_review.py"


def read_constants() -> dict[str, Any]:
    """The constants of the script that are plain values, read without running it; none if it cannot be read."""
    constants = {}
    with suppress(OSError, SyntaxError, ValueError):
        for node in ast.parse(SCRIPT.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                with suppress(ValueError):  # a computed value
                    constants[node.targets[0].id] = ast.literal_eval(node.value)
    return constants


def record_constants(flags: Any) -> dict[str, list[str]]:
    """Hashes of each constant's value and of the value used, which a flag may have set."""
    # Hashes, because a path on this machine is nobody else's business.
    constants = {name: value for name, value in read_constants().items() if hasattr(flags, name.lower())}
    return {name: [_hash(value), _hash(getattr(flags, name.lower()))] for name, value in constants.items()}


def find_edited(recorded: dict[str, list[str]], folders: dict[str, str]) -> list[str]:
    """The constants edited since the data in `folders` were made; none if the script would not write there now."""
    constants = read_constants()
    if any(constants.get(name) != folder for name, folder in folders.items()):
        return []
    return [name for name, value in constants.items() if name in recorded and _hash(value) not in recorded[name]]


def _hash(value: Any) -> str:
    return blake2b(repr(value).encode(), digest_size=6).hexdigest()
