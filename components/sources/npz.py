"""An `.npz` file, as Keras downloads MNIST, read in pieces."""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from components.sources.base import BATCH, HEIGHT, PIXELS, WIDTH, Batch, Source, checked_labels
from serving.errors import InputError


class NpzSource(Source):
    """An `.npz` file with Keras's keys x_train, y_train, x_test and y_test."""

    parts = ("train", "test")

    def __init__(self, path: Path):
        self._path = path

    def name(self, part: str) -> str:
        return str(self._path)

    def _read(self, part: str) -> Iterator[Batch]:
        with contextlib.ExitStack() as stack:
            with self._refusals():
                archive = stack.enter_context(zipfile.ZipFile(self._path))
                images = _Array(stack.enter_context(archive.open(f"x_{part}.npy")))
                labels = _Array(stack.enter_context(archive.open(f"y_{part}.npy")))
            if images.dtype != np.uint8 or images.shape[1:] not in {(HEIGHT, WIDTH), (PIXELS,)}:
                raise InputError(
                    f"{self._path}: x_{part} is {images.dtype} {list(images.shape)}; "
                    f"expected uint8 [n, {HEIGHT}, {WIDTH}]"
                )
            if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
                raise InputError(
                    f"{self._path}: y_{part} is {labels.dtype} {list(labels.shape)}; "
                    f"expected integers [{images.shape[0]}]"
                )
            for start in range(0, images.shape[0], BATCH):
                n = min(BATCH, images.shape[0] - start)
                with self._refusals():
                    batch, batch_labels = images.read(n).reshape(n, PIXELS), labels.read(n)
                yield batch, checked_labels(batch_labels, self._path, start)

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except KeyError as error:
            raise InputError(
                f"{self._path}: {error}; expected the keys x_train, y_train, x_test, y_test"
            ) from error
        except (
            *(OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error),
            RuntimeError,  # what `zipfile` has for a password or a compression it does not know
        ) as error:
            raise InputError(f"{self._path}: not a readable .npz file ({error})") from error


class _Array:
    """An array of an archive, read by rows.

    Attributes:
        shape: the array's.
        dtype: the array's.

    Raises:
        ValueError: it is none, or one of Python's objects.
    """

    def __init__(self, file: IO[bytes]):
        self._file = file
        version = npy.read_magic(file)
        if version == (1, 0):
            header = npy.read_array_header_1_0(file)
        elif version == (2, 0):
            header = npy.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} of the .npy format")
        self.shape, by_columns, self.dtype = header
        if self.dtype.hasobject:
            raise ValueError("an array of Python's objects")
        self._whole: np.ndarray | None = None
        self._next = 0
        if by_columns and len(self.shape) > 1:  # a row is all over the file
            values = np.frombuffer(self._bytes(math.prod(self.shape)), self.dtype)
            self._whole = values.reshape(self.shape, order="F")

    def read(self, rows: int) -> np.ndarray:
        """Returns the next rows."""
        if self._whole is not None:
            self._next += rows
            return self._whole[self._next - rows : self._next]
        values = self._bytes(rows * math.prod(self.shape[1:]))
        return np.frombuffer(values, self.dtype).reshape(rows, *self.shape[1:])

    def _bytes(self, values: int) -> bytes:
        size = values * self.dtype.itemsize
        data = self._file.read(size)
        if len(data) != size:
            raise ValueError(f"{size - len(data)} bytes short")
        return data
