"""Pictures in a folder for each class."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from components.sources.base import BATCH, CLASSES, HEIGHT, PIXELS, WIDTH, Batch, Source
from serving.errors import InputError


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
