"""`digits predict --server`: names the digits in picture files with a model server."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from serving.client.client import BATCH_SIZE, Client
from serving.errors import InputError, ServerError
from serving.picture_files import read_picture
from serving.prediction import Prediction

T = TypeVar("T")


def predict_on_server(files: Sequence[str], client: Client) -> list[Prediction]:
    """Classifies picture files, with a progress bar if they are many.

    Raises:
        InputError: a file is no readable picture, and nothing was sent; or the server cannot be
            reached, or refuses.
    """
    for file in files:
        read_picture(file)  # all of them before any is sent; they may be too large to keep
    try:
        with client:
            return list(_with_progress(client.classify_many(files), total=len(files)))
    except ServerError as error:
        raise InputError(f"--server {error}") from error


def _with_progress(items: Iterable[T], *, total: int) -> Iterable[T]:
    if total <= BATCH_SIZE or not sys.stdout.isatty():
        return items
    try:
        from rich.progress import track
    except ModuleNotFoundError:  # the extra `client` does without
        return items
    return track(items, "classifying", total=total, transient=True)
