"""`digits data` and `digits model`: a look at the digits and at the network."""

from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.sources import CLASSES, HEIGHT, WIDTH, locate, open_source
from components.splits import SPLITS, split_batches
from serving.errors import InputError

SHEET_COLUMNS = 20
GAP = 2


def show_data(data: str, out: Path, console: Console) -> None:
    """Prints shapes and counts, and writes a contact sheet of each digit's first examples.

    Raises:
        InputError: the data is bad.
    """
    counts = {split: np.zeros(CLASSES, np.int64) for split in SPLITS}
    first: list[list[np.ndarray]] = [[] for _ in range(CLASSES)]
    for split, (images, labels) in split_batches(open_source(locate(data))):
        counts[split] += np.bincount(labels, minlength=CLASSES)
        for label in range(CLASSES):
            missing = SHEET_COLUMNS - len(first[label])
            first[label] += list(images[labels == label][:missing])

    table = Table(title=escape(f"{data}: uint8 [n, {HEIGHT}, {WIDTH}], white on black"))
    for heading in ("label", *SPLITS):
        table.add_column(heading, justify="right")
    for label in range(CLASSES):
        table.add_row(str(label), *(f"{counts[split][label]:,}" for split in SPLITS))
    table.add_section()
    table.add_row("all", *(f"{counts[split].sum():,}" for split in SPLITS))
    console.print(table)

    try:
        out.mkdir(parents=True, exist_ok=True)
        path = out / "digits.png"
        _contact_sheet(first).save(path)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from error
    console.print(f"contact sheet: {path}", soft_wrap=True, highlight=False)


def _contact_sheet(digits: list[list[np.ndarray]]) -> Image.Image:
    """One row a label, white on black with grey lines between."""
    height, width = HEIGHT + GAP, WIDTH + GAP
    sheet = np.full((CLASSES * height + GAP, SHEET_COLUMNS * width + GAP), 64, np.uint8)
    for row, images in enumerate(digits):
        for column, image in enumerate(images):
            top, left = GAP + row * height, GAP + column * width
            sheet[top : top + HEIGHT, left : left + WIDTH] = image.reshape(HEIGHT, WIDTH)
    return Image.fromarray(sheet).resize(
        (sheet.shape[1] * 2, sheet.shape[0] * 2), Image.Resampling.NEAREST
    )


def show_model(recipe: str, console: Console) -> None:
    """Prints the layer table of a recipe's network."""
    from components.model import build_model
    from components.recipes import RECIPES

    model = build_model(RECIPES[recipe])
    table = Table(title=f"recipe {recipe}: {model.name}")
    table.add_column("layer")
    table.add_column("output shape")
    table.add_column("parameters", justify="right")
    for layer in model.layers:
        shape = ", ".join("n" if side is None else str(side) for side in layer.output.shape)
        table.add_row(layer.__class__.__name__, escape(f"[{shape}]"), f"{layer.count_params():,}")
    table.add_section()
    table.add_row("all", "", f"{model.count_params():,}")
    console.print(table)
