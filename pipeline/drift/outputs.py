"""What `digits drift` shows and leaves: a table, a plot, gauges for Prometheus."""

import time
from pathlib import Path

from rich import box
from rich.table import Table

from export.facts import Drift
from pipeline.atomic import replace_file
from pipeline.report.drawing import style, to_chart
from pipeline.report.drift_chart import draw_drift


def to_table(drift: Drift) -> Table:
    """Returns the table for the terminal."""
    table = Table(box=box.SIMPLE, padding=0)
    table.add_column("feature")
    for heading in ("reference", "requests", "distance", "p", ""):
        table.add_column(heading, justify="right")
    for found in drift.features:
        table.add_row(
            found.feature,
            f"{found.reference:.4g}",
            f"{found.requests:.4g}",
            f"{found.distance:.3f}",
            f"{found.p_value:.2g}",
            "drift" if found.is_drift else "",
        )
    return table


def to_prometheus(drift: Drift) -> str:
    """Returns gauges in Prometheus's text format, for node_exporter's textfile collector."""
    lines = []
    for name, text, value_of in (
        ("distance", "Distance of the requests from the reference, 0 to 1", lambda c: c.distance),
        ("p_value", "Corrected for all features (Holm)", lambda c: c.p_value),
        ("alarm", "1 where the feature has drifted", lambda c: int(c.is_drift)),
    ):
        lines += [f"# HELP digits_drift_{name} {text}.", f"# TYPE digits_drift_{name} gauge"]
        for found in drift.features:
            feature = found.feature.replace(" ", "_")
            labels = f'feature="{feature}",version="{drift.version}"'
            lines.append(f"digits_drift_{name}{{{labels}}} {value_of(found)!r}")
    for name, text, value in (
        ("digits", "Digits of the requests that were compared", drift.digits),
        ("timestamp_seconds", "When they were compared", int(time.time())),
    ):
        lines += [
            f"# HELP digits_drift_{name} {text}.",
            f"# TYPE digits_drift_{name} gauge",
            f'digits_drift_{name}{{version="{drift.version}"}} {value}',
        ]
    return "\n".join(lines) + "\n"


def write_plot(path: Path, drift: Drift) -> None:
    """Draws both distributions of each feature, as a PNG file.

    Raises:
        OSError: the file cannot be written.
    """
    with style():
        figure = draw_drift(drift)
        if figure:
            replace_file(path, to_chart("drift", figure).png)
