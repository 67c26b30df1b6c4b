"""What was released when: the state that all else can be made from again."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pipeline.atomic import replace_file
from serving.errors import InputError

#: The label of the version that clients are to use.
STABLE = "stable"

Action = Literal["start", "promote", "rollback", "canary"]


@dataclass(frozen=True, kw_only=True)
class Release:
    """A change of what is served.

    Attributes:
        action: what was asked for; `start` is what was served before the first release.
        labels: the version of each label from then on; no other version is served.
        at: when, in UTC.
        is_done: the change is complete, and the servers have confirmed it.
    """

    action: Action
    labels: dict[str, int]
    at: str
    is_done: bool

    @classmethod
    def of(cls, action: Action, labels: dict[str, int], *, is_done: bool = False) -> "Release":
        """A release that is made now."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(action=action, labels=labels, at=at, is_done=is_done)


@dataclass(frozen=True)
class History:
    """All releases of a run root, oldest first. Only the last may be unfinished."""

    releases: tuple[Release, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "History":
        """Reads the history; empty where nothing was released.

        Raises:
            InputError: the file is damaged.
        """
        try:
            entries = json.loads(path.read_text())["releases"]
            history = cls(tuple(Release(**entry) for entry in entries))
            for release in history.releases:
                if not all(isinstance(number, int) for number in release.labels.values()):
                    raise TypeError(f"labels {release.labels}")
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not a history of releases ({error}); restore it, or remove it to start "
                "anew"
            ) from error
        return history

    def write(self, path: Path) -> None:
        """Writes the history in one step.

        Raises:
            OSError: it cannot be written.
        """
        entries = [asdict(release) for release in self.releases]
        replace_file(path, json.dumps({"releases": entries}, indent=2) + "\n")

    @property
    def labels(self) -> dict[str, int]:
        """The version of each label, unfinished changes included."""
        return dict(self.releases[-1].labels) if self.releases else {}

    @property
    def pending(self) -> Release | None:
        """The change that a crash or a server's fault has left unfinished."""
        return None if not self.releases or self.releases[-1].is_done else self.releases[-1]

    def without_pending(self) -> "History":
        """The history before the unfinished change."""
        return History(self.releases[:-1]) if self.pending else self

    def started_with(self, stable: int) -> "History":
        """Notes what is served before the first release."""
        return History((Release.of("start", {STABLE: stable}, is_done=True), *self.releases))

    def with_pending(self, release: Release) -> "History":
        """Adds an unfinished change."""
        return History((*self.releases, release))

    def finished(self) -> "History":
        """Marks the last change as complete."""
        *before, last = self.releases
        return History((*before, replace(last, is_done=True)))

    @property
    def stable_versions(self) -> list[int]:
        """The stable version and those that rollbacks lead back to, oldest first."""
        stack: list[int] = []
        for release in self.releases:
            stable = release.labels.get(STABLE)
            if release.action == "rollback":
                stack.pop()
            elif stable is not None and stack[-1:] != [stable]:
                stack.append(stable)
        return stack
