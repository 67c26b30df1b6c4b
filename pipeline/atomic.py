"""Files that are there whole, or not at all."""

import os
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Writes a file beside, then renames it: whoever reads, even after a crash, sees old or new.

    Two writers of one file must exclude each other: what a crash leaves beside, under a fixed
    name, the next write takes over.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.new")
    with open(beside, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the new name on an empty file
    os.replace(beside, path)
