"""The chart of a drift check: each feature in what the model learnt from, and in the requests."""

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from components.sources import CLASSES
from export.facts import Drift
from pipeline.report.drawing import LIGHT, new_figure

COLUMNS = 2
ROW = 1.35  # inches


def draw_drift(drift: Drift) -> Figure | None:
    """Draws both distributions of each feature; None if none was compared."""
    if not drift.features:
        return None
    rows = math.ceil(len(drift.features) / COLUMNS)
    figure = new_figure(ROW * rows + 0.55, left=0.15, top=0.55, bottom=0.3)
    figure.subplots_adjust(hspace=0.95, wspace=0.12)
    for index, found in enumerate(drift.features):
        axes = figure.add_subplot(rows, COLUMNS, index + 1)
        histogram = found.histogram
        colour = LIGHT["bad" if found.is_drift else "second"]
        axes.stairs(
            histogram.reference, histogram.edges, color=LIGHT["accent"], fill=True, alpha=0.3
        )
        axes.stairs(histogram.requests, histogram.edges, color=colour, linewidth=1.6)
        title = f"{found.feature}: drift" if found.is_drift else found.feature
        axes.set_title(title, color=LIGHT["bad" if found.is_drift else "ink"], fontsize=9)
        if max(histogram.reference) > 0.5:  # nearly all digits are in one bin
            axes.set_yscale("log")
            axes.set_ylabel("log scale", fontsize=7, labelpad=2)
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        if found.feature == "class mix":
            axes.set_xticks(range(CLASSES))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
    figure.legend(
        handles=[
            Patch(color=LIGHT["accent"], alpha=0.3, label="learnt from"),
            Line2D([], [], color=LIGHT["second"], label="requests"),
            Line2D([], [], color=LIGHT["bad"], label="requests that have drifted"),
        ],
        loc="upper left",
        bbox_to_anchor=(0.02, 1),
        ncols=3,
    )
    return figure
