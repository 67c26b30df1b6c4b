"""Content hashes of artifacts, for lineage."""

import hashlib
from pathlib import Path


def sha256_of_directory(directory: str) -> str:
    """Returns a hash of all files of a directory: their relative names and contents, sorted."""
    total = hashlib.sha256()
    root = Path(directory)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        total.update(str(path.relative_to(root)).encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
