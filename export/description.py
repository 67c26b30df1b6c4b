"""The description that lies in every version of the edge model."""

import json
import os
from pathlib import Path
from typing import Any

from serving.errors import InputError

DESCRIPTION_FILE = "model.json"


def read_description(directory: Path) -> dict[str, Any]:
    """Reads the description of a pushed edge model.

    Args:
        directory: the version.

    Raises:
        OSError: there is none.
        InputError: it is damaged.
    """
    path = directory / DESCRIPTION_FILE
    return parse_description(path.read_bytes(), path)


def parse_description(content: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a description that lies anywhere, in an object store say.

    Args:
        content: of its `model.json`.
        path: of that file.

    Raises:
        InputError: it is damaged.
    """
    try:
        description = json.loads(content)
    except ValueError:
        description = None
    if isinstance(description, dict) and "source_saved_model_sha256" in description:
        return description
    raise InputError(f"{path}: damaged; remove this version, or push it again")
