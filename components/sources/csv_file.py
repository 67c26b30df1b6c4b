"""A CSV of labels and pixels, as on Kaggle."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.sources.base import BATCH, CLASSES, PIXELS, Batch, Source
from serving.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


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
