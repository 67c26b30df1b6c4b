"""Which pushed version the commands take that ask no server."""

from pathlib import Path

from pipeline.config import RunRoot
from pipeline.release.history import STABLE, History
from serving.errors import InputError
from serving.predict import latest_version


def current_version(root: RunRoot, models: Path) -> Path:
    """Returns the directory of the stable version; before the first release, of the latest one.

    A release that is not complete does not count yet.

    Args:
        root: whose releases.
        models: `root.serving` or `root.edge`.

    Raises:
        InputError: there is no such version, or the history is damaged.
    """
    stable = History.read(root.releases).without_pending().labels.get(STABLE)
    if stable is None:
        return latest_version(models)
    directory = models / str(stable)
    if not directory.is_dir():
        raise InputError(
            f"{directory}: the version that was promoted is not there; "
            "digits release promote another, or push it again"
        )
    return directory
