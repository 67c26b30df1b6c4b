"""Directories that may be in an object store: `s3://BUCKET/KEY` and `minio://BUCKET/KEY`.

The keys to it, and the address of one that is not Amazon's, come from the environment, as for any
S3 client: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION.
"""

import contextlib
import os
import posixpath
import tempfile
from collections.abc import Iterator
from urllib.parse import urlparse

from pyarrow import fs

from serving.errors import InputError

SCHEMES = ("s3://", "minio://")


def is_remote(directory: str) -> bool:
    """Says whether a directory is in an object store."""
    return directory.startswith(SCHEMES)


def open_directory(directory: str) -> tuple[fs.FileSystem, str]:
    """Returns the file system of a directory, and its path there."""
    if not is_remote(directory):
        return fs.LocalFileSystem(), directory
    endpoint = urlparse(os.environ.get("AWS_ENDPOINT_URL", ""))
    system = fs.S3FileSystem(
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme or "https",
        region=os.environ.get("AWS_REGION", "us-east-1"),
    )
    return system, directory.partition("://")[2].rstrip("/")


def copy_in(directory: str, target: str) -> None:
    """Copies a directory, wherever it is, to a local one.

    Raises:
        InputError: an object store has nothing there, or does not give it.
    """
    system, path = open_directory(directory)
    with _errors(directory):
        found = system.get_file_info(path)
        if found.type == fs.FileType.NotFound:
            raise FileNotFoundError("nothing there")
        if found.is_file:
            target = os.path.join(target, posixpath.basename(path))
            os.makedirs(os.path.dirname(target), exist_ok=True)
        fs.copy_files(path, target, source_filesystem=system)


def copy_out(source: str, directory: str, *, last: str) -> None:
    """Copies the files of a local directory into an object store.

    Args:
        source: the directory.
        directory: where to.
        last: the file that is copied when all others are there.
    """
    system, path = open_directory(directory)
    names = [
        os.path.relpath(os.path.join(folder, name), source)
        for folder, _, names in os.walk(source)
        for name in names
    ]
    with _errors(directory):
        for name in sorted(names, key=lambda name: (name == last, name)):
            fs.copy_files(
                os.path.join(source, name),
                posixpath.join(path, name),
                destination_filesystem=system,
            )


@contextlib.contextmanager
def local_copy(directory: str) -> Iterator[str]:
    """Gives the local path of a directory or a file: of a copy, while the block runs, if need be.

    Raises:
        InputError: an object store has nothing there, or does not give it.
    """
    if not is_remote(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory() as copy:
        copy_in(directory, copy)
        name = posixpath.basename(directory.rstrip("/"))
        yield os.path.join(copy, name) if os.listdir(copy) == [name] else copy


@contextlib.contextmanager
def _errors(directory: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_remote(directory):
            raise
        raise InputError(
            f"{directory}: {' '.join(str(error).split())}; check the URI, and the keys and the "
            "address in the environment (AWS_...)"
        ) from error
