"""Locks between processes, each on a file of a run root."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.config import RunRoot
from serving.errors import InputError


@contextlib.contextmanager
def exclusive(root: RunRoot, file: Path, holder: str, *, make_root: bool = False) -> Iterator[None]:
    """Holds a file of a run root, and so what it stands for, until the block ends.

    Args:
        root: of the file.
        file: is made if need be.
        holder: says who holds it if another process does, and what to do then.
        make_root: make the run root if need be.

    Raises:
        InputError: another process holds it, or it cannot be made.
    """
    try:
        if make_root:
            root.path.mkdir(parents=True, exist_ok=True)
        lock = file.open("a")
    except OSError as error:
        raise InputError(f"--root {root.path}: {error.strerror}") from error
    with lock:
        if not take(lock):
            raise InputError(f"--root {root.path}: {holder}")
        yield


def take(file: IO[str]) -> bool:
    """Takes a file's lock, which is held until the file is closed; False if another has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
