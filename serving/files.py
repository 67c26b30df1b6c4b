"""Files of users, read within bounds: a device has no end."""

import os

from serving.errors import InputError


def read_bounded(path: str | os.PathLike[str], limit: int, may: str) -> bytes:
    """Reads a file.

    Args:
        path: of the file.
        limit: its most bytes.
        may: what may have so many, for the message.

    Raises:
        InputError: it cannot be read, or has more bytes.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if len(content) > limit:
        raise InputError(f"{path}: too large; {may} at most {limit:,} bytes")
    return content
