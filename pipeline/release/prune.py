"""`digits release prune`: removes old versions, none that is served, labelled or gone back to."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.config import RunRoot
from pipeline.release.change import Servers, locked
from pipeline.release.history import History
from pipeline.release.versions import pushed_versions
from serving.server.versions import find_versions

#: Of a version that is being removed: no server and no command takes it for a version.
_REMOVED = ".pruned-"


def prune(root: RunRoot, keep: int, servers: Servers, report: Callable[[str], None]) -> None:
    """Removes the served and the edge models of all versions but the last `keep` and those in use.

    Args:
        keep: how many of the latest to keep in any case, 1 or more.

    Raises:
        InputError: there is no version, or a server cannot be reached.
    """
    with locked(root):
        for rest in (*root.serving.glob(f"{_REMOVED}*"), *root.edge.glob(f"{_REMOVED}*")):
            shutil.rmtree(rest)  # of a crash
        versions = pushed_versions(root)
        history = History.read(root.releases)
        in_use = servers.available() | set(history.labels.values())
        in_use |= set(history.without_pending().labels.values())
        in_use |= set(history.stable_versions[-2:])  # where a rollback leads
        kept = set(sorted(versions)[-keep:]) | in_use
        for number, version in versions.items():
            if number not in kept:
                # Served model first: with the edge model only, nothing is left to serve.
                _remove(version.served)
                report(f"removed {number}")
        # Here, not above: a crash may have left an edge model whose served model is removed.
        # Newer ones are of a run that is pushing.
        for number, path in find_versions(str(root.edge)).items() if root.edge.exists() else ():
            if number not in kept and number < max(versions):
                _remove(Path(path))
        report(f"kept {', '.join(str(number) for number in sorted(kept & set(versions)))}")


def _remove(path: Path) -> None:
    """Takes a version away in one step, then deletes it."""
    away = path.with_name(f"{_REMOVED}{path.name}")
    os.rename(path, away)
    shutil.rmtree(away)
