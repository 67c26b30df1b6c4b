"""What the pipeline costs beside the seed text's plain Keras script, in interleaved rounds.

    make bench-pipeline DATA=DIRECTORY_OF_IDX_FILES [ARGS="--rounds 3"]

Both go from the raw files to the test accuracy, each in a new process and run root.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console(width=100)


@dataclass(frozen=True)
class Measured:
    """One process: wall and CPU in seconds, peak memory in MiB, and what it reported."""

    wall: float
    cpu: float
    peak: float
    report: dict[str, Any]

    @property
    def ms_per_step(self) -> float:
        return self.report["training_seconds"] / self.report["steps"] * 1000


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    plain, pipeline = [], []
    for number in range(options.rounds):
        console.print(f"round {number + 1} of {options.rounds}")
        plain.append(_plain(options.data))
        pipeline.append(_pipeline(options.data))
    _print(plain, pipeline)


def _plain(data: str) -> Measured:
    with tempfile.TemporaryFile("w+") as out:
        wall, cpu, peak = _measure(["tests.benchmarks.plain_keras", data], out)
        out.seek(0)
        return Measured(wall, cpu, peak, json.loads(out.readlines()[-1]))


def _pipeline(data: str) -> Measured:
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryFile("w+") as out:
        wall, cpu, peak = _measure(["pipeline.cli", "run", "--data", data, "--root", root], out)
        summary = json.loads(Path(root, "summary.json").read_text())
    model = summary["model"]
    keys = ("accuracy", "training_seconds", "steps")
    report = {key: model[key] for key in keys} | {"components": summary["components"]}
    return Measured(wall, cpu, peak, report)


def _measure(arguments: list[str], out: Any) -> tuple[float, float, float]:
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=out, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status:
        raise SystemExit(f"{arguments} failed: wait status {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _print(plain: list[Measured], pipeline: list[Measured]) -> None:
    table = Table(title="median (lowest to highest)")
    for heading in ("", "plain script", "digits run", "ratio, median of rounds"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, value in (
        ("wall s", lambda m: m.wall),
        ("CPU s", lambda m: m.cpu),
        ("peak MiB", lambda m: m.peak),
        ("training s", lambda m: m.report["training_seconds"]),
        ("training ms a step", lambda m: m.ms_per_step),
        ("test accuracy", lambda m: m.report["accuracy"]),
    ):
        columns = [[value(m) for m in measured] for measured in (plain, pipeline)]
        ratio = statistics.median(b / a for a, b in zip(*columns, strict=True))
        table.add_row(name, *map(_spread, columns), f"{ratio:.2f}")
    table.add_section()
    for name, share in (
        ("added to the plain wall time", lambda a, b: b.wall / a.wall - 1),
        (
            "all but training, beside the plain wall time",
            lambda a, b: (b.wall - b.report["training_seconds"]) / a.wall,
        ),
    ):
        shares = [share(*measured) for measured in zip(plain, pipeline, strict=True)]
        table.add_row(name, "", "", _spread(shares))
    console.print(table)

    parts = Table(title="components of digits run, median")
    for heading in ("component", "s", "peak MiB of the process"):
        parts.add_column(heading, justify="left" if heading == "component" else "right")
    for runs in zip(*(m.report["components"] for m in pipeline), strict=True):
        seconds, peak = (statistics.median(r[k] for r in runs) for k in ("seconds", "peak_mib"))
        parts.add_row(runs[0]["name"], f"{seconds:.1f}", f"{peak:,.0f}")
    console.print(parts)


def _spread(values: list[float]) -> str:
    digits = 4 if max(values) < 2 else 1
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
