"""IDX files, as MNIST is published."""

import gzip
import hashlib
import logging
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, ClassVar

import numpy as np

from components.sources.base import BATCH, HEIGHT, PIXELS, WIDTH, Batch, Source, checked_labels
from serving.errors import InputError

logger = logging.getLogger("digits")

# SHA-256 of the uncompressed files of MNIST as LeCun, Cortes and Burges published them.
MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class IdxSource(Source):
    """The four files of MNIST, Fashion-MNIST, KMNIST and their like, compressed or not.

    The format: http://yann.lecun.com/exdb/mnist (big-endian magic and dimensions, then bytes).
    """

    parts = ("train", "test")
    _stems: ClassVar = {"train": "train", "test": "t10k"}

    def __init__(self, directory: Path):
        self._files: dict[str, Path] = {}
        for stem in self._stems.values():
            for kind, dimensions in (("images", 3), ("labels", 1)):
                names = [f"{stem}-{kind}{sep}idx{dimensions}-ubyte" for sep in "-."]
                found = [directory / (n + gz) for n in names for gz in ("", ".gz")]
                path = next((p for p in found if p.is_file()), None)
                if path is None:
                    raise InputError(f"{directory / names[0]}[.gz]: missing from the IDX set")
                self._files[f"{stem}-{kind}"] = path

    def name(self, part: str) -> str:
        return str(self._files[f"{self._stems[part]}-images"])

    def _read(self, part: str) -> Iterator[Batch]:
        stem = self._stems[part]
        with (
            _IdxFile(f"{stem}-images", self._files[f"{stem}-images"], 3) as images,
            _IdxFile(f"{stem}-labels", self._files[f"{stem}-labels"], 1) as labels,
        ):
            if images.shape[1:] != (HEIGHT, WIDTH):
                raise InputError(
                    f"{images.path}: images of {images.shape[1]}x{images.shape[2]} pixels; "
                    f"expected {HEIGHT}x{WIDTH}"
                )
            if images.shape[0] != labels.shape[0]:
                raise InputError(
                    f"{labels.path}: {labels.shape[0]} labels for the {images.shape[0]} images "
                    f"of {images.path.name}; use files of one set"
                )
            for start in range(0, images.shape[0], BATCH):
                n = min(BATCH, images.shape[0] - start)
                batch = images.read(n * PIXELS).reshape(n, PIXELS)
                yield batch, checked_labels(labels.read(n), labels.path, start)
            images.finish()
            labels.finish()


class _IdxFile:
    """Streams one IDX file and checks its header, its length and its checksum."""

    def __init__(self, kind: str, path: Path, dimensions: int):
        self.path = path
        self._kind = kind
        self._dimensions = dimensions

    def __enter__(self) -> "_IdxFile":
        self._file: IO[bytes] | gzip.GzipFile = (
            gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")
        )
        self._hash = hashlib.sha256()
        header = self.read(4 + 4 * self._dimensions).tobytes()
        magic, *shape = struct.unpack(f">{1 + self._dimensions}I", header)
        if magic != 0x800 + self._dimensions:
            self._file.close()
            raise InputError(
                f"{self.path}: magic number {magic:#x}, not {0x800 + self._dimensions:#x}; "
                f"not an IDX file of {self._kind.split('-')[1]}"
            )
        self.shape = tuple(shape)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> np.ndarray:
        try:
            data = self._file.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.path}: damaged ({error}); fetch the file again") from error
        if len(data) != size:
            raise InputError(
                f"{self.path}: truncated, {size - len(data)} bytes short; fetch the file again"
            )
        self._hash.update(data)
        return np.frombuffer(data, np.uint8)

    def finish(self) -> None:
        if self._file.read(1):
            raise InputError(f"{self.path}: longer than its header says; fetch the file again")
        if self._hash.hexdigest() != MNIST_SHA256[self._kind]:
            logger.warning(
                "%s: not the canonical MNIST file (SHA-256 differs); used all the same", self.path
            )
