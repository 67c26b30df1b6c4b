"""The last drift check of a version, where `digits drift` has left one in the run root."""

import json
from typing import Any

from export.facts import Drift
from pipeline.config import RunRoot
from serving.errors import InputError

#: `digits drift` leaves it in its directory.
DRIFT_FILE = "drift.json"


def with_drift(values: dict[str, Any], root: RunRoot) -> dict[str, Any]:
    """Returns a run's facts with the last drift check, if it was of the version that it pushed.

    Args:
        values: of `export.facts.Facts`, as JSON values.
        root: the run root.

    Raises:
        InputError: the check's file is damaged.
    """
    path = root.drift / DRIFT_FILE
    if not values.get("pushed") or not path.exists():
        return values
    try:
        check = json.loads(path.read_text())
        Drift.model_validate(check)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged; run `digits drift` again, or remove it") from error
    if str(check["version"]) != values["pushed"]["version"]:
        return values
    return {**values, "drift": check}
