"""What a warm start is worth: spans that arrive one after another, and two spoilt ones.

    make bench-spans DATA=DIR [ARGS="--spans 3 --seed 1 --recipe seed"]

The digits of DATA are dealt to so many spans, train and test, and each way of training has a run
root of its own: warm from the last blessed model, cold for as many epochs, cold for the recipe's,
and warm on all spans so far. A span is tested on its own test digits, by the new model and by the
last blessed one. Then the first way meets a span whose pixels are inverted, and one whose labels
have been permuted: each must end with exit code 1, and leave what is served as it was.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from components.recipes import RECIPES
from components.sources import Batch
from components.versions import SAVED_MODEL_FILE, versions
from tests.benchmarks.idx_files import read_parts, write_part

console = Console(width=120)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--spans", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", default="seed", choices=RECIPES)
    options = parser.parse_args()
    warm_epochs = str(RECIPES[options.recipe].warm_epochs)
    ways = {
        "warm": [],
        "cold, as many epochs": ["--no-warm-start"],
        "cold": ["--no-warm-start"],
        "warm, all spans": ["--window", str(options.spans)],
    }
    with tempfile.TemporaryDirectory() as directory:
        spans = Path(directory)
        train, test = read_parts(options.data)
        for span in range(1, options.spans + 1):
            rows = slice(span - 1, None, options.spans)
            _write(spans, span, *((images[rows], labels[rows]) for images, labels in (train, test)))
        common = ["--data", f"{spans}/span-{{SPAN}}", "--recipe", options.recipe]
        common += ["--seed", str(options.seed)]
        table = _table()
        for name, way in ways.items():
            for span in range(1, options.spans + 1):
                arguments = [*common, *way, "--span", str(span), "--root", str(spans / name)]
                if span > 1 and name == "cold, as many epochs":
                    arguments += ["--epochs", warm_epochs]
                _run(table, name, spans / name, arguments)
            table.add_section()
        rng = np.random.default_rng(options.seed)
        last = [(images[rows], labels[rows]) for images, labels in (train, test)]
        spoilt = {
            "pixels inverted": [(255 - images, labels) for images, labels in last],
            "labels permuted": [(images, rng.permutation(labels)) for images, labels in last],
        }
        for span, (name, parts) in enumerate(spoilt.items(), options.spans + 1):
            _write(spans, span, *parts)
            arguments = [*common, "--span", str(span), "--root", str(spans / "warm")]
            _run(table, name, spans / "warm", arguments, must_refuse=True)
    console.print(table)


def _write(spans: Path, span: int, train: Batch, test: Batch) -> None:
    for stem, part in (("train", train), ("t10k", test)):
        write_part(spans / f"span-{span}", stem, len(part[1]), [part])


def _table() -> Table:
    table = Table()
    table.add_column("way")
    for heading in ("span", "trained on", "epochs", "s", "training s"):
        table.add_column(heading, justify="right")
    for heading in ("accuracy", "last blessed", "lead", "served"):
        table.add_column(heading, justify="right")
    return table


def _run(
    table: Table, name: str, root: Path, arguments: Sequence[str], *, must_refuse: bool = False
) -> None:
    """Runs a span, adds its row to the table, and ends all if the run did not end as it must."""
    before = versions(str(root / "serving" / "digits"), holding=SAVED_MODEL_FILE)
    started = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "pipeline.cli", "run", *arguments]).returncode
    seconds = time.monotonic() - started
    after = versions(str(root / "serving" / "digits"), holding=SAVED_MODEL_FILE)
    summary = json.loads((root / "summary.json").read_text())
    refused = [gate for gate, verdict in summary["gates"].items() if not verdict["blessed"]]
    served = "the last still" if after == before else "this"
    if refused:
        served += f" ({', '.join(refused)} gate)"
    table.add_row(name, *_figures(summary, seconds), served)
    if code not in (0, 1) or (code == 0) == (after == before) or (must_refuse and code != 1):
        console.print(table)
        raise SystemExit(f"{name}: exit code {code}; versions {before}, then {after}")


def _figures(summary: Mapping[str, Any], seconds: float) -> list[str]:
    data, model = summary["data"], summary["model"]
    row = [str(data["span"]), ", ".join(map(str, data["trained_on_spans"]))]
    if model is None:
        return [*row, "", f"{seconds:.1f}", "", "", "", ""]
    baseline = model["baseline"]
    epochs, way = len(model["history"]["loss"]), "warm" if model["warm_start"] else "cold"
    return [
        *row,
        f"{epochs} {way}",
        f"{seconds:.1f}",
        f"{model['training_seconds']:.1f}",
        f"{model['accuracy']:.2%}",
        f"{baseline['accuracy']:.2%}" if baseline else "",
        f"{100 * (model['accuracy'] - baseline['accuracy']):+.2f}" if baseline else "",
    ]


if __name__ == "__main__":
    main()
