"""The charts of a report: each drawn once, as SVG for the page and as a PNG file.

They are drawn in the colours of `LIGHT`, which in the SVG become the page's own variables, so
that they follow its light and its dark look.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from export.facts import SEED_CLAIM, Facts, Ink, Interval, Stress

#: The page's colours, by the name of their CSS variable.
LIGHT = {
    "ink": "#1c2230",
    "muted": "#667085",
    "line": "#dfe3ea",
    "accent": "#2f6bea",
    "second": "#d9730d",
    "third": "#7a5bd6",
    "good": "#16865a",
    "bad": "#cf3434",
}
WIDTH = 6.0  # inches
_STYLE = {
    "font.family": "DejaVu Sans",  # the one that matplotlib brings
    "font.size": 9,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.7,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "digits",
}


@dataclass(frozen=True)
class Chart:
    """A chart in both forms.

    Attributes:
        svg: an `<svg>` element without references to anything outside it.
        png: a PNG file.
    """

    svg: str
    png: bytes


def draw(facts: Facts) -> dict[str, Chart]:
    """Draws the charts that the facts allow, by name."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # its keys are literals
        figures = {name: chart(facts) for name, chart in CHARTS.items()}
        return {name: _chart(name, figure) for name, figure in figures.items() if figure}


def _chart(name: str, figure: Figure) -> Chart:
    svg, png = io.StringIO(), io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(svg, format="svg", transparent=True, metadata=nothing)
    figure.savefig(png, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return Chart(_themed(name, svg.getvalue()), png.getvalue())


def _themed(name: str, svg: str) -> str:
    """Makes a file of matplotlib an element of the page: its colours, its font, no equal ids."""
    svg = svg[svg.index("<svg") :]
    for variable, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)


def _axes(height: float, columns: int = 1, **options: object) -> tuple[Figure, list[Axes]]:
    figure = Figure((WIDTH, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **options)  # type: ignore[call-overload]
    return figure, list(axes[0])


def _percent(axis: matplotlib.axis.Axis, digits: int | None = None) -> None:
    axis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=digits))


def _accuracy(facts: Facts) -> Figure | None:
    if not facts.model:
        return None
    rows: list[tuple[str, float, Interval, str]] = []
    rows.append(("this model", facts.model.accuracy, facts.model.interval_95, "accent"))
    if baseline := facts.model.baseline:
        name = "last blessed (the same)" if baseline.same else "last blessed model"
        rows.append((name, baseline.accuracy, baseline.interval_95, "muted"))
    for name, variant in facts.edge.variants.items() if facts.edge else ():
        colour = "bad" if variant.refusals else "second"
        rows.append((f"edge {name}", variant.accuracy, variant.interval_95, colour))
    figure, (axes,) = _axes(0.75 + 0.28 * len(rows))
    for row, (_, accuracy, (low, high), colour) in enumerate(rows):
        axes.plot([low, high], [row, row], color=LIGHT[colour], linewidth=2.5, alpha=0.45)
        axes.plot([accuracy], [row], "o", color=LIGHT[colour], markersize=6)
    axes.axvline(SEED_CLAIM, color=LIGHT["good"], linestyle="--", linewidth=1.2)
    axes.text(
        SEED_CLAIM, -0.75, f"claim {SEED_CLAIM:.1%}", color=LIGHT["good"], ha="right", fontsize=8
    )
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -1.1)
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=6)
    _percent(axes.xaxis)
    axes.set_xlabel("test accuracy, with its 95 % interval")
    return figure


def _training(facts: Facts) -> Figure | None:
    if not facts.model:
        return None
    figure, panels = _axes(2.5, 2)
    for axes, metric in zip(panels, ("loss", "accuracy"), strict=True):
        for name, label, colour in (
            (metric, "train", "accent"),
            (f"val_{metric}", "validation", "second"),
        ):
            points = facts.model.curve(name)
            marker = "o" if len(points) < 15 else ""
            axes.plot(
                *zip(*points, strict=True), color=LIGHT[colour], label=label, marker=marker, ms=3.5
            ) if points else None
        axes.set_title(metric)
        axes.set_xlabel("epoch")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    _percent(panels[1].yaxis)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    panels[0].yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    panels[1].legend(loc="lower right")
    return figure


def _confusion(facts: Facts) -> Figure | None:
    if not facts.model:
        return None
    matrix = facts.model.confusion_matrix
    worst = facts.model.confusions[0].count if facts.model.confusions else 1
    figure, (axes,) = _axes(4.9)
    for actual, row in enumerate(matrix):
        for predicted, count in enumerate(row):
            right = actual == predicted
            share = count / max(sum(row), 1) if right else count / worst
            patch = Rectangle(
                (predicted - 0.47, actual - 0.47),
                0.94,
                0.94,
                facecolor=LIGHT["accent" if right else "bad"],
                alpha=0.3 * share if right else 0.75 * share,
                linewidth=0,
            )
            axes.add_patch(patch)
            if count:
                axes.text(
                    predicted, actual, f"{count}", ha="center", va="center", fontsize=8 + right * 0.5
                )
    axes.set_xlim(-0.5, 9.5)
    axes.set_ylim(9.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.tick_params(length=0, labelcolor=LIGHT["ink"])
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted digit")
    axes.set_ylabel("actual digit")
    return figure


def _recall(facts: Facts) -> Figure | None:
    if not facts.model:
        return None
    figure, (axes,) = _axes(3.4)
    model = facts.model
    for digit, (recall, (low, high)) in enumerate(
        zip(model.recall, model.recall_interval_95, strict=True)
    ):
        colour = LIGHT["bad" if digit == model.weakest_digit else "accent"]
        axes.plot([low, high], [digit, digit], color=colour, linewidth=2.5, alpha=0.45)
        axes.plot([recall], [digit], "o", color=colour, markersize=6)
    axes.axvline(model.accuracy, color=LIGHT["muted"], linestyle="--", linewidth=1)
    axes.text(
        model.accuracy, -0.8, "all digits", color=LIGHT["muted"], ha="center", fontsize=8
    )
    axes.set_yticks(range(10))
    axes.set_ylim(9.6, -1.2)
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=6)
    _percent(axes.xaxis)
    axes.set_xlabel("recall, with its 95 % interval")
    axes.set_ylabel("digit")
    return figure


def _calibration(facts: Facts) -> Figure | None:
    if not facts.model or not facts.model.calibration:
        return None
    bins = facts.model.calibration
    figure = Figure((WIDTH, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=LIGHT["muted"], linestyle="--", linewidth=1)
    upper.text(0.2, 0.23, "as sure as right", color=LIGHT["muted"], fontsize=8, rotation=27)
    upper.plot(
        [part.confidence for part in bins],
        [part.accuracy for part in bins],
        "o-",
        color=LIGHT["accent"],
        markersize=5,
    )
    upper.set_ylabel("share that is right")
    upper.set_ylim(-0.03, 1.05)
    _percent(upper.yaxis, 0)
    lower.bar(
        [part.lower for part in bins],
        [part.count for part in bins],
        width=[part.upper - part.lower - 0.006 for part in bins],
        align="edge",
        color=LIGHT["accent"],
        alpha=0.55,
    )
    lower.set_yscale("log")
    lower.set_ylabel("digits")
    lower.set_xlabel("probability of the first choice")
    lower.set_xlim(0, 1.01)
    _percent(lower.xaxis, 0)
    for axes in (upper, lower):
        axes.grid(axis="y")
    return figure


def _stress(facts: Facts) -> Figure | None:
    stress = facts.edge.stress if facts.edge else None
    if not stress:
        return None
    figure, (axes,) = _axes(1.0 + 0.28 * len(stress.disturbances))
    _dumbbells(axes, stress)
    return figure


def _dumbbells(axes: Axes, stress: Stress) -> None:
    for row, part in enumerate(stress.disturbances.values()):
        ends = [part.raw_accuracy, part.preprocessed_accuracy]
        axes.plot(ends, [row, row], color=LIGHT["line"], linewidth=3)
    rows = range(len(stress.disturbances))
    parts = stress.disturbances.values()
    raw, preprocessed = (
        [part.raw_accuracy for part in parts],
        [part.preprocessed_accuracy for part in parts],
    )
    axes.plot(raw, rows, "o", color=LIGHT["second"], label="raw pixels", markersize=7)
    axes.plot(
        preprocessed, rows, "o", color=LIGHT["accent"], label="through preprocessing", markersize=7
    )
    axes.set_yticks(rows, list(stress.disturbances))
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=6)
    _percent(axes.xaxis)
    axes.set_xlabel("accuracy of the edge model")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


def _sizes(facts: Facts) -> Figure | None:
    if not facts.edge or not facts.edge.variants:
        return None
    variants = facts.edge.variants
    figure, (axes,) = _axes(0.8 + 0.28 * len(variants))
    colours = [LIGHT["bad" if variant.refusals else "accent"] for variant in variants.values()]
    kilobytes = [variant.bytes / 1000 for variant in variants.values()]
    bars = axes.barh(list(variants), kilobytes, color=colours, alpha=0.75, height=0.6)
    axes.bar_label(bars, fmt="%.0f kB", padding=4, color=LIGHT["ink"], fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.set_xlabel("size of the file, kB")
    return figure


def _labels(facts: Facts) -> Figure | None:
    if not facts.data:
        return None
    figure, (axes,) = _axes(2.2)
    splits = facts.data.splits
    width = 0.8 / len(splits)
    for index, (name, split) in enumerate(splits.items()):
        shares = [count / max(split.examples, 1) for count in split.by_label]
        places = [digit + (index - (len(splits) - 1) / 2) * width for digit in range(len(shares))]
        axes.bar(places, shares, width * 0.9, color=_split_colour(index), label=name, alpha=0.8)
    axes.set_xticks(range(10))
    axes.tick_params(axis="x", length=0, labelcolor=LIGHT["ink"])
    axes.grid(axis="y")
    _percent(axes.yaxis, 0)
    axes.set_ylabel("share of the split")
    axes.set_xlabel("digit")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return figure


def _split_colour(index: int) -> str:
    return LIGHT[("accent", "second", "third")[index % 3]]


def _ink(facts: Facts) -> Figure | None:
    if not facts.pictures:
        return None
    figure, (axes,) = _axes(2.2)
    _histograms(axes, facts.pictures.ink)
    return figure


def _histograms(axes: Axes, ink: Ink) -> None:
    for index, (split, counts) in enumerate(ink.counts.items()):
        total = max(sum(counts), 1)
        axes.stairs(
            [count / total for count in counts],
            ink.edges,
            color=_split_colour(index),
            label=split,
            linewidth=1.6,
            fill=index == 0,
            alpha=0.3 if index == 0 else 1,
        )
    axes.grid(axis="y")
    _percent(axes.xaxis, 0)
    _percent(axes.yaxis)
    axes.set_xlabel("ink: mean pixel, 100 % is all white")
    axes.set_ylabel("share of the split")
    axes.legend(loc="upper right")


def _components(facts: Facts) -> Figure | None:
    components = [part for part in facts.components if part.state in {"ran", "cached", "failed"}]
    if not components:
        return None
    figure, panels = _axes(0.9 + 0.25 * len(components), 2, sharey=True)
    names = [part.name for part in components]
    for axes, title, values, fmt, colour in (
        (panels[0], "seconds", [part.seconds for part in components], "%.1f", "accent"),
        (panels[1], "peak memory, MiB", [part.peak_mib for part in components], "%.0f", "third"),
    ):
        bars = axes.barh(names, values, color=LIGHT[colour], alpha=0.75, height=0.65)
        for bar, part in zip(bars, components, strict=True):
            if part.state != "ran":
                bar.set_alpha(0.35)
        axes.bar_label(bars, fmt=fmt, padding=3, color=LIGHT["ink"], fontsize=8)
        axes.set_title(title)
        axes.margins(x=0.18)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
        axes.locator_params(axis="x", nbins=4)
    panels[0].invert_yaxis()
    return figure


#: By name; each returns None if its facts are missing.
CHARTS: dict[str, Callable[[Facts], Figure | None]] = {
    "accuracy": _accuracy,
    "training": _training,
    "confusion": _confusion,
    "recall": _recall,
    "calibration": _calibration,
    "stress": _stress,
    "sizes": _sizes,
    "labels": _labels,
    "ink": _ink,
    "components": _components,
}
