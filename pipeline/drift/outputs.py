"""What `digits drift` shows and leaves: a table, a plot, JSON, gauges for Prometheus."""

import io
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from components.sources import CLASSES
from pipeline.atomic import replace_file
from pipeline.drift.comparison import Comparison

COLUMNS = 3


def to_table(comparisons: list[Comparison]) -> Table:
    """Returns the table for the terminal."""
    table = Table(box=box.SIMPLE, padding=0)
    table.add_column("feature")
    for heading in ("reference", "requests", "distance", "p", ""):
        table.add_column(heading, justify="right")
    for found in comparisons:
        table.add_row(
            found.feature,
            f"{found.reference:.4g}",
            f"{found.requests:.4g}",
            f"{found.distance:.3f}",
            f"{found.p_value:.2g}",
            "drift" if found.is_drift else "",
        )
    return table


def to_json(comparisons: list[Comparison], facts: Mapping[str, object]) -> str:
    """Returns a JSON object: the facts, and a list `features`."""
    return json.dumps({**facts, "features": [asdict(found) for found in comparisons]}, indent=2)


def to_prometheus(comparisons: list[Comparison], *, digits: int, version: int) -> str:
    """Returns gauges in Prometheus's text format, for node_exporter's textfile collector."""
    lines = []
    for name, text, value_of in (
        ("distance", "Distance of the requests from the reference, 0 to 1", lambda c: c.distance),
        ("p_value", "Corrected for all features (Holm)", lambda c: c.p_value),
        ("alarm", "1 where the feature has drifted", lambda c: int(c.is_drift)),
    ):
        lines += [f"# HELP digits_drift_{name} {text}.", f"# TYPE digits_drift_{name} gauge"]
        for found in comparisons:
            feature = found.feature.replace(" ", "_")
            labels = f'feature="{feature}",version="{version}"'
            lines.append(f"digits_drift_{name}{{{labels}}} {value_of(found)!r}")
    for name, text, value in (
        ("digits", "Digits of the requests that were compared", digits),
        ("timestamp_seconds", "When they were compared", int(time.time())),
    ):
        lines += [
            f"# HELP digits_drift_{name} {text}.",
            f"# TYPE digits_drift_{name} gauge",
            f'digits_drift_{name}{{version="{version}"}} {value}',
        ]
    return "\n".join(lines) + "\n"


def write_plot(
    path: Path,
    comparisons: list[Comparison],
    reference: Mapping[str, np.ndarray],
    requests: Mapping[str, np.ndarray],
) -> None:
    """Draws both distributions of each feature.

    Raises:
        OSError: the file cannot be written.
    """
    rows = max(1, math.ceil(len(comparisons) / COLUMNS))
    figure = Figure(figsize=(4 * COLUMNS, 2.6 * rows), layout="constrained")
    for index, found in enumerate(comparisons):
        axes = figure.add_subplot(rows, COLUMNS, index + 1)
        old, new = reference[found.feature], requests[found.feature]
        if found.feature == "class mix":
            bins = np.arange(CLASSES + 1) - 0.5
        else:
            old, new = old[np.isfinite(old)], new[np.isfinite(new)]
            low, high = np.percentile(np.concatenate([old, new]), [0.5, 99.5])
            bins = np.linspace(low, max(high, low + 1e-6), 40)
        for values, name in ((old, "reference"), (new, "requests")):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, bins=bins.tolist(), weights=weights, histtype="step", label=name)
        title = f"{found.feature}: {found.distance:.3f}"
        axes.set_title(f"{title} (drift)" if found.is_drift else title)
        axes.set_yticks([])
    if comparisons:
        figure.axes[0].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    replace_file(path, buffer.getvalue())
