"""The pushed versions of a run root, and what is known of each."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export.description import read_description
from export.hashes import sha256_of_directory
from pipeline.config import RunRoot
from serving.errors import InputError
from serving.server.versions import find_versions

#: Version numbers are seconds since the epoch; smaller ones were made by hand.
FIRST_TIME = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Version:
    """A pushed version.

    Attributes:
        number: the version.
        served: directory of the served model.
        description: `model.json` of the edge model of the same version; empty if there is none.
    """

    number: int
    served: Path
    description: dict[str, Any]

    @property
    def pushed(self) -> datetime:
        """When it was pushed."""
        seconds = self.number if self.number >= FIRST_TIME else self.served.stat().st_mtime
        return datetime.fromtimestamp(seconds, UTC)

    @property
    def data(self) -> str | None:
        """SHA-256 of the digits that made it, all splits."""
        return self.description.get("data_sha256")

    @property
    def accuracy(self) -> float | None:
        """Of the served model on the test split of its data."""
        return self.description.get("metrics", {}).get("served_accuracy")

    @property
    def int8_accuracy(self) -> float | None:
        """The same of the edge model."""
        return self.description.get("metrics", {}).get("accuracy")

    @property
    def is_blessed(self) -> bool:
        """Whether the files are those that passed all gates, by their hash."""
        blessed = self.description.get("source_saved_model_sha256")
        return blessed is not None and blessed == sha256_of_directory(str(self.served))


def pushed_versions(root: RunRoot) -> dict[int, Version]:
    """Returns the versions of the served model, by number.

    Raises:
        InputError: there are none, or a description is damaged.
    """
    try:
        found = find_versions(str(root.serving))
    except OSError:
        found = {}
    if not found:
        raise InputError(f"{root.serving}: no pushed model; run `digits run` first")
    return {
        number: Version(
            number=number,
            served=Path(path),
            description=_description(root.edge / Path(path).name),
        )
        for number, path in sorted(found.items())
    }


def version_of(versions: dict[int, Version], number: int) -> Version:
    """Returns a version.

    Raises:
        InputError: it was not pushed, or has been pruned.
    """
    if number not in versions:
        there = ", ".join(map(str, versions))
        raise InputError(f"version {number}: not pushed, or pruned; there are {there}")
    return versions[number]


def _description(edge: Path) -> dict[str, Any]:
    try:
        return read_description(edge)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
