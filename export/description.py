"""The description that lies in every version of the edge model."""

import json
import os
from typing import Any

from serving.errors import InputError

DESCRIPTION_FILE = "model.json"


def parse_description(content: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the description of a pushed edge model.

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
