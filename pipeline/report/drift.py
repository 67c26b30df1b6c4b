"""The last drift check of a version, where `digits drift` has left one in the run root."""

import json
from pathlib import Path
from typing import Any

from export.facts import Drift
from serving.errors import InputError

#: In the run root.
DRIFT_FILE = Path("drift", "drift.json")


def with_drift(values: dict[str, Any], root: Path) -> dict[str, Any]:
    """Returns a run's facts with the last drift check, if it was of the version that it pushed.

    Args:
        values: of `export.facts.Facts`, as JSON values.
        root: the run root.

    Raises:
        InputError: the check's file is damaged.
    """
    path = root / DRIFT_FILE
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
