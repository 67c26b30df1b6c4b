"""`digits release promote`, `rollback` and `canary`: intended, carried out, confirmed.

The intention is written first. After a crash, the same command carries it out; the state of each
moment in between is one from which servers can start, and serve.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.atomic import replace_file
from pipeline.config import RunRoot
from pipeline.locks import exclusive
from pipeline.release.history import STABLE, Action, History, Release
from pipeline.release.rollout import NotConfirmed, NotLoaded, Rollout
from pipeline.release.server_config import read_config, with_base_path, with_versions, write_config
from pipeline.release.versions import pushed_versions, version_of
from serving.client.model_service import ModelService
from serving.errors import GateRefused, InputError, ServerError


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where a release goes.

    Attributes:
        model: its name.
        services: the model on each server; none: only the files of the run root change.
        config: the model configuration file.
        base_path: where the servers find the versions; None: as the file says.
        wait_seconds: for versions to load, and for a change to be confirmed.
    """

    model: str
    services: Sequence[ModelService]
    config: Path
    base_path: str | None
    wait_seconds: float

    def available(self) -> set[int]:
        """Returns the versions that any of the servers serves.

        Raises:
            InputError: a server cannot be reached, or refuses.
        """
        try:
            statuses = [service.statuses() for service in self.services]
        except ServerError as error:
            raise InputError(f"--server {error}") from error
        return {number for by in statuses for number, status in by.items() if status.is_available}


def promote(root: RunRoot, number: int, servers: Servers, report: Callable[[str], None]) -> None:
    """Makes a version the stable one.

    Raises:
        InputError: it is not there, or a server cannot be reached, or refuses.
        GateRefused: it is not blessed, or does not load.
    """
    with locked(root):
        _require_blessed(root, number)
        history = History.read(root.releases)
        if not history.releases:
            served = servers.available() or set(pushed_versions(root))
            if max(served) != number:
                history = history.started_with(max(served))
        known = history.without_pending()
        _change(root, history, "promote", {**known.labels, STABLE: number}, servers, report)


def canary(
    root: RunRoot, number: int, label: str, servers: Servers, report: Callable[[str], None]
) -> None:
    """Serves a version beside the stable one, for requests with a label.

    Raises:
        InputError: no version is stable yet, or as `promote`.
        GateRefused: as `promote`.
    """
    with locked(root):
        _require_blessed(root, number)
        labels = _labels_for_canary(root, label)
        history = History.read(root.releases)
        _change(root, history, "canary", {**labels, label: number}, servers, report)
        if number > labels[STABLE]:
            report(
                f"requests without a label or a version go to {number}, the greater: let clients "
                f"name the label {STABLE}"
            )


def end_canary(root: RunRoot, label: str, servers: Servers, report: Callable[[str], None]) -> None:
    """Takes a label away again.

    Raises:
        InputError: as `canary`.
    """
    with locked(root):
        labels = _labels_for_canary(root, label)
        labels.pop(label, None)
        _change(root, History.read(root.releases), "canary", labels, servers, report)


def rollback(
    root: RunRoot, leaving: int | None, servers: Servers, report: Callable[[str], None]
) -> None:
    """Makes the version stable that was so before; other labels stay.

    An unfinished rollback is completed; any other unfinished change is given up instead.

    Args:
        leaving: the version to leave, so that a repetition leaves no other; None: the stable one.

    Raises:
        InputError: there is none before, it was pruned, or as `promote`.
        GateRefused: as `promote`.
    """
    with locked(root):
        history = History.read(root.releases)
        before, pending = history.without_pending(), history.pending
        if pending and pending.action == "rollback":
            labels = pending.labels
        elif pending and before.labels:
            labels = before.labels
        elif leaving not in (None, before.labels.get(STABLE)) and before.labels:
            labels = before.labels
            report(f"version {leaving} is not the stable one")
        elif len(before.stable_versions) < 2:
            raise InputError("no earlier release to go back to; digits release promote VERSION")
        else:
            labels = {**before.labels, STABLE: before.stable_versions[-2]}
        version_of(pushed_versions(root), labels[STABLE])
        _change(root, history, "rollback", labels, servers, report)


def _labels_for_canary(root: RunRoot, label: str) -> dict[str, int]:
    labels = History.read(root.releases).without_pending().labels
    if label == STABLE:
        raise InputError(f"--label {label}: is for digits release promote; choose another")
    if STABLE not in labels:
        raise InputError("a canary needs a stable version beside it: digits release promote first")
    return labels


def _require_blessed(root: RunRoot, number: int) -> None:
    if not version_of(pushed_versions(root), number).is_blessed:
        raise GateRefused(
            f"version {number}: its files are not those that the gates blessed; push it again"
        )


def _change(
    root: RunRoot,
    history: History,
    action: Action,
    labels: dict[str, int],
    servers: Servers,
    report: Callable[[str], None],
) -> None:
    before = history.without_pending()
    config_was = read_config(
        servers.config,
        model=servers.model,
        default=servers.base_path or str(root.serving.absolute()),
    )
    file_was = servers.config.read_bytes() if servers.config.exists() else None
    known_labels = {label for made in history.releases for label in made.labels}
    rollout = Rollout(
        model=servers.model,
        config=with_base_path(config_was, servers.model, servers.base_path),
        config_was=config_was,
        path=servers.config,
        services=servers.services,
        wait_seconds=servers.wait_seconds,
        report=report,
    )
    history = before
    if labels != before.labels:
        history = before.with_pending(Release.of(action, labels))
        history.write(root.releases)
    try:
        rollout.apply(labels, known_labels=known_labels)
    except NotLoaded as error:
        if before.labels:
            versions = set(before.labels.values())
            write_config(
                servers.config, with_versions(config_was, servers.model, versions, before.labels)
            )
        elif file_was is not None:
            replace_file(servers.config, file_was)
        else:
            servers.config.unlink()
        before.write(root.releases)
        raise GateRefused(f"{error}; nothing has changed") from error
    except ServerError as error:
        raise InputError(f"--server {error}; then give the same command again") from error
    except NotConfirmed as error:
        raise InputError(f"--server {error} Then give the same command again") from error
    history.finished().write(root.releases)
    served = "served" if labels != before.labels else "served as before"
    report(
        f"{served}: " + ", ".join(f"{label} {number}" for label, number in sorted(labels.items()))
    )


@contextlib.contextmanager
def locked(root: RunRoot) -> Iterator[None]:
    """Holds the releases of a run root against other commands.

    Raises:
        InputError: another command holds them, or something cannot be written.
    """
    try:
        lock = root.path / ".releases.lock"
        with exclusive(root, lock, "another release is under way; wait for it"):
            yield
    except OSError as error:
        raise InputError(f"{error.filename or root.path}: {error.strerror}") from error
