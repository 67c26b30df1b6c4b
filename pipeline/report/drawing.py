"""How the charts are drawn: once each, as SVG for the page and as a PNG file.

They are drawn in the colours of `LIGHT`, which in the SVG become the page's own variables, so
that they follow its light and its dark look.
"""

import io
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

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
WIDTH = 5.0  # inches: of a phone, for letters of the size that they have there
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


def style() -> AbstractContextManager[None]:
    """Under it, figures are made and drawn in the look of the report."""
    return matplotlib.rc_context(_STYLE)


def to_chart(name: str, figure: Figure) -> Chart:
    """Draws a figure, made under `style`, in both forms; the name makes its ids unique."""
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


def new_figure(
    height: float, *, left: float = 0.55, top: float = 0.1, bottom: float = 0.5
) -> Figure:
    """Makes a figure with fixed margins, inches: to find the best ones takes half of a drawing."""
    figure = Figure((WIDTH, height))
    figure.subplots_adjust(
        left=left / WIDTH, right=1 - 0.15 / WIDTH, top=1 - top / height, bottom=bottom / height
    )
    return figure


def new_rows(
    count: int, *, left: float, top: float = 0.1, pitch: float = 0.27
) -> tuple[Figure, Axes]:
    """Makes axes with a name for each of so many rows."""
    figure = new_figure(pitch * count + 0.6 + top, left=left, top=top)
    axes = figure.subplots()
    axes.set_ylim(count - 0.5, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=6)
    return figure, axes


def in_percent(axis: Axis) -> None:
    """Labels an axis of shares in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
