"""Fixtures: one end-to-end run on the sample, which all end-to-end assertions share."""

import contextlib
import gzip
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from components.sources import locate, open_source
from serving.errors import InputError

if TYPE_CHECKING:
    from playwright import sync_api as playwright


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class PipelineRun:
    """A finished `digits run` on the sample."""

    root: Path
    outcome: Outcome

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.root / "summary.json").read_text())

    def versions(self) -> dict[str, list[str]]:
        return {
            "serving": sorted(p.name for p in (self.root / "serving" / "digits").glob("*")),
            "edge": sorted(p.name for p in (self.root / "edge").glob("*")),
        }

    def artifact(self, component: str, output: str) -> Path:
        """The artifact of a component in the first run."""
        return min(
            (self.root / "artifacts" / component / output).iterdir(), key=lambda p: int(p.name)
        )


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    """Headless Chromium; only one may be open in a thread, so each module has its own."""
    from export.web_engine import chromium

    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium())
        except InputError as error:
            pytest.skip(str(error))
        yield browser


@pytest.fixture(scope="session")
def pipeline_run(tmp_path_factory: pytest.TempPathFactory) -> PipelineRun:
    """`digits run` as a user types it."""
    directory = tmp_path_factory.mktemp("pipeline")
    root, temporary = directory / "run", directory / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "run", "--root", str(root)],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    return PipelineRun(root, Outcome(done.returncode, done.stdout, done.stderr))


@pytest.fixture
def digits(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process."""
    from pipeline.cli import main

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as usage:
            code = int(usage.code or 0)
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """The embedded digits: uint8 [5000, 28, 28] and int64 [5000]."""
    batches = list(open_source(locate("sample")).batches("all"))
    images = np.concatenate([images for images, _ in batches])
    return images.reshape(-1, 28, 28), np.concatenate([labels for _, labels in batches])


def write_idx(path: Path, array: np.ndarray, *, magic: int | None = None) -> None:
    """Writes uint8 values as an IDX file, compressed if the name says so."""
    magic = 0x800 + array.ndim if magic is None else magic
    content = struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx_directory(tmp_path: Path, sample: tuple[np.ndarray, np.ndarray]) -> Path:
    """Four small IDX files: 200 digits to train, 100 to test."""
    images, labels = (array[::16][:300] for array in sample)
    directory = tmp_path / "idx"
    directory.mkdir()
    for stem, rows in (("train", slice(200)), ("t10k", slice(200, 300))):
        write_idx(directory / f"{stem}-images-idx3-ubyte.gz", images[rows])
        write_idx(directory / f"{stem}-labels-idx1-ubyte", labels[rows].astype(np.uint8))
    return directory
