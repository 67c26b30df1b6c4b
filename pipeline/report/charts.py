"""The charts of a report, one function each."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from export.facts import SEED_CLAIM, Facts, Ink, Interval, Stress, wilson_interval
from pipeline.report.drawing import LIGHT, Chart, in_percent, new_figure, new_rows, style, to_chart
from pipeline.report.drift_chart import draw_drift


def draw(facts: Facts) -> dict[str, Chart]:
    """Draws the charts that the facts allow, by name."""
    with style():
        figures = {name: chart(facts) for name, chart in CHARTS.items()}
        return {name: to_chart(name, figure) for name, figure in figures.items() if figure}


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
    figure, axes = new_rows(len(rows), left=1.55, top=0.3)
    for row, (_, accuracy, (low, high), colour) in enumerate(rows):
        axes.plot([low, high], [row, row], color=LIGHT[colour], linewidth=2.5, alpha=0.45)
        axes.plot([accuracy], [row], "o", color=LIGHT[colour], markersize=6)
    axes.axvline(SEED_CLAIM, color=LIGHT["good"], linestyle="--", linewidth=1.2)
    axes.text(
        SEED_CLAIM, -0.75, f"claim {SEED_CLAIM:.1%}", color=LIGHT["good"], ha="center", fontsize=8
    )
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    in_percent(axes.xaxis)
    axes.set_xlabel("test accuracy, with its 95 % interval")
    return figure


def _training(facts: Facts) -> Figure | None:
    if not facts.model:
        return None
    figure = new_figure(2.8, top=0.3)
    panels = figure.subplots(1, 2, gridspec_kw={"wspace": 0.36})
    for name, label, colour in (("", "train", "accent"), ("val_", "validation", "second")):
        losses = facts.model.curve(f"{name}loss")
        errors = [(epoch, 1 - share) for epoch, share in facts.model.curve(f"{name}accuracy")]
        for axes, points in zip(panels, (losses, errors), strict=True):
            points = [(epoch, value) for epoch, value in points if value > 0]  # of a log scale
            if points:
                marker = "o" if len(points) < 15 else ""
                epochs, values = zip(*points, strict=True)
                axes.plot(epochs, values, color=LIGHT[colour], label=label, marker=marker, ms=3.5)
    for axes, title, form in (
        (panels[0], "loss", "{:g}"),
        (panels[1], "digits missed", "{:.3g} %"),
    ):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        scale = 100 if "%" in form else 1
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _, form=form, scale=scale: form.format(value * scale))
        )
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if panels[1].lines:
        panels[1].legend(loc="best")
    return figure


def _confusion(facts: Facts) -> Figure | None:
    if not facts.model:
        return None
    matrix = facts.model.confusion_matrix
    worst = facts.model.confusions[0].count if facts.model.confusions else 1
    figure = new_figure(4.8, left=0.45)
    axes = figure.subplots()
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
                    predicted,
                    actual,
                    f"{count}",
                    ha="center",
                    va="center",
                    fontsize=8 + right * 0.5,
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
    model = facts.model
    figure, axes = new_rows(len(model.recall), left=0.55, top=0.3, pitch=0.4)
    for digit, (recall, (low, high)) in enumerate(
        zip(model.recall, model.recall_interval_95, strict=True)
    ):
        colour = LIGHT["bad" if digit == model.weakest_digit else "accent"]
        axes.plot([low, high], [digit, digit], color=colour, linewidth=2.5, alpha=0.45)
        axes.plot([recall], [digit], "o", color=colour, markersize=6)
    axes.axvline(model.accuracy, color=LIGHT["muted"], linestyle="--", linewidth=1)
    axes.text(model.accuracy, -0.75, "all digits", color=LIGHT["muted"], ha="center", fontsize=8)
    axes.set_yticks(range(len(model.recall)))
    in_percent(axes.xaxis)
    axes.set_xlabel("recall, with its 95 % interval")
    axes.set_ylabel("digit")
    return figure


def _calibration(facts: Facts) -> Figure | None:
    if not facts.model or not facts.model.calibration:
        return None
    bins = facts.model.calibration
    figure = new_figure(5.2, left=0.7)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=LIGHT["muted"], linestyle="--", linewidth=1)
    upper.text(0.2, 0.23, "as sure as right", color=LIGHT["muted"], fontsize=8, rotation=38)
    for part in bins:
        reach = wilson_interval(round(part.accuracy * part.count), part.count)
        upper.plot([part.confidence] * 2, reach, color=LIGHT["accent"], linewidth=2.5, alpha=0.4)
    upper.plot(
        [part.confidence for part in bins],
        [part.accuracy for part in bins],
        "o",
        color=LIGHT["accent"],
        markersize=6,
    )
    upper.set_ylabel("share that is right, with its 95 % interval")
    upper.set_ylim(-0.03, 1.05)
    in_percent(upper.yaxis)
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
    in_percent(lower.xaxis)
    for axes in (upper, lower):
        axes.grid(axis="y")
    return figure


def _stress(facts: Facts) -> Figure | None:
    stress = facts.edge.stress if facts.edge else None
    if not stress:
        return None
    figure, axes = new_rows(len(stress.disturbances), left=2.05, top=0.3)
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
    in_percent(axes.xaxis)
    axes.set_xlabel("accuracy of the edge model")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)


def _sizes(facts: Facts) -> Figure | None:
    if not facts.edge or not facts.edge.variants:
        return None
    variants = facts.edge.variants
    figure, axes = new_rows(len(variants), left=0.9)
    colours = [LIGHT["bad" if variant.refusals else "accent"] for variant in variants.values()]
    kilobytes = [variant.bytes / 1000 for variant in variants.values()]
    bars = axes.barh(list(variants), kilobytes, color=colours, alpha=0.75, height=0.6)
    axes.bar_label(bars, fmt="%.0f kB", padding=4, color=LIGHT["ink"], fontsize=8)
    axes.margins(x=0.12)
    axes.set_xlabel("size of the file, kB")
    return figure


def _labels(facts: Facts) -> Figure | None:
    if not facts.data:
        return None
    figure = new_figure(2.5, top=0.3, left=0.7)
    axes = figure.subplots()
    splits = facts.data.splits
    width = 0.8 / len(splits)
    for index, (name, split) in enumerate(splits.items()):
        shares = [count / max(split.examples, 1) for count in split.by_label]
        places = [digit + (index - (len(splits) - 1) / 2) * width for digit in range(len(shares))]
        axes.bar(places, shares, width * 0.9, color=_split_colour(index), label=name, alpha=0.8)
    axes.set_xticks(range(10))
    axes.tick_params(axis="x", length=0, labelcolor=LIGHT["ink"])
    axes.grid(axis="y")
    in_percent(axes.yaxis)
    axes.set_ylabel("share of the split")
    axes.set_xlabel("digit")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return figure


def _split_colour(index: int) -> str:
    return LIGHT[("accent", "second", "third")[index % 3]]


def _ink(facts: Facts) -> Figure | None:
    if not facts.pictures:
        return None
    figure = new_figure(2.5, top=0.3, left=0.7)
    axes = figure.subplots()
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
    in_percent(axes.xaxis)
    in_percent(axes.yaxis)
    axes.set_xlabel("ink: mean pixel, 100 % is all white")
    axes.set_ylabel("share of the split")
    axes.legend(loc="upper right")


def _components(facts: Facts) -> Figure | None:
    components = [part for part in facts.components if part.state in {"ran", "cached", "failed"}]
    if not components:
        return None
    height = 0.9 + 0.25 * len(components)
    figure = new_figure(height, left=1.5, top=0.35, bottom=0.35)
    panels = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.14})
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
        axes.margins(x=0.3)
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
    "drift": lambda facts: draw_drift(facts.drift) if facts.drift else None,
}
