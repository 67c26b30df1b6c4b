"""`digits release diff`: two versions on the same digits, and where they disagree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.edge_metrics import compare_hits
from components.sources import CLASSES, HEIGHT, WIDTH
from pipeline.atomic import replace_file
from pipeline.config import RunRoot
from pipeline.release.versions import Version
from pipeline.run_data import read_splits
from pipeline.saved_model import load_classifier
from serving.errors import InputError

#: Pictures of the contact sheet, at most.
MAX_PICTURES = 200
COLUMNS = 10
ZOOM = 3
CAPTION = 26


def diff_versions(
    root: RunRoot, old: Version, new: Version, data: str | None, out: Path, console: Console
) -> None:
    """Prints a table, and writes `diff.json` and the contact sheet `disagreements.png`.

    Args:
        root: where the versions are.
        old: a version.
        new: another.
        data: as `digits run --data`; None: what the last run read. The test split is used.
        out: directory of the two files.
        console: prints the table.

    Raises:
        InputError: the data or a model cannot be read, or a file not be written.
    """
    splits = read_splits(root, data)
    if "test" not in splits:
        raise InputError("the data has no test split; name other: --data")
    images, labels = splits["test"]
    answers = [load_classifier(version.served)(images) for version in (old, new)]
    found = [probabilities.argmax(1) for probabilities in answers]
    hits = [predicted == labels for predicted in found]
    figures: dict[str, Any] = {
        "old": old.number,
        "new": new.number,
        "examples": len(labels),
        "accuracy": [float(hit.mean()) for hit in hits],
        "recall": [[_recall(hit, labels, digit) for hit in hits] for digit in range(CLASSES)],
        **compare_hits(hits[1], hits[0]),
        "disagreements": int((found[0] != found[1]).sum()),
        "same_data": old.data is not None and old.data == new.data,
    }
    _print(figures, old, new, console)

    rows = np.flatnonzero(found[0] != found[1])
    # What the new one loses, then what it gains, then where both are wrong.
    rows = rows[np.lexsort((hits[1][rows], ~hits[0][rows]))]
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / "diff.json", json.dumps(figures, indent=2) + "\n")
        sheet = out / "disagreements.png"
        if len(rows):
            _contact_sheet(images, labels, found, rows[:MAX_PICTURES]).save(sheet)
        else:
            sheet.unlink(missing_ok=True)  # of another diff
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from error
    if len(rows):
        shown = f"{min(len(rows), MAX_PICTURES)} of {len(rows)} disagreements: {sheet}"
        console.print(shown, soft_wrap=True, highlight=False)


def _recall(hits: np.ndarray, labels: np.ndarray, digit: int) -> float | None:
    chosen = hits[labels == digit]
    return float(chosen.mean()) if len(chosen) else None


def _print(figures: dict[str, Any], old: Version, new: Version, console: Console) -> None:
    table = Table(title=f"on {figures['examples']:,} test digits")
    table.add_column("")
    for version in (old, new):
        table.add_column(str(version.number), justify="right")
    table.add_column("change", justify="right")

    def add(name: str, values: list[float | None]) -> None:
        before, after = values
        if before is None or after is None:
            table.add_row(name, _share(before), _share(after), "")
        else:
            table.add_row(
                name, _share(before), _share(after), f"{100 * (after - before):+.2f} points"
            )

    add("accuracy", figures["accuracy"])
    for digit, recalls in enumerate(figures["recall"]):
        add(f"recall of {digit}", recalls)
    table.add_section()
    add("accuracy when pushed", [old.accuracy, new.accuracy])
    add("int8 accuracy when pushed", [old.int8_accuracy, new.int8_accuracy])
    for name in ("recipe", "data"):
        table.add_row(f"{name}", *(escape(_origin(version, name)) for version in (old, new)), "")
    console.print(table)
    console.print(
        f"{figures['disagreements']} labels differ: {figures['lost']} digits lost, "
        f"{figures['gained']} gained; p = {figures['loss_p_value']:.2g} that so many or more are "
        "lost by chance",
        highlight=False,
    )
    if not figures["same_data"]:
        console.print(
            "made from other data: these test digits may have been in the train split of one",
            highlight=False,
        )


def _origin(version: Version, name: str) -> str:
    if name == "data":
        return (version.data or "unknown")[:12]
    recipe = version.description.get("recipe")
    return str(recipe.get("name", "unknown")) if isinstance(recipe, dict) else "unknown"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _contact_sheet(
    images: np.ndarray, labels: np.ndarray, found: list[np.ndarray], rows: np.ndarray
) -> Image.Image:
    """Each digit with its label, and what the old and the new version take it for."""
    side, height = WIDTH * ZOOM + 6, HEIGHT * ZOOM + CAPTION
    lines = -(-len(rows) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * side, lines * height), 255)
    draw = ImageDraw.Draw(sheet)
    for index, row in enumerate(rows):
        left, top = index % COLUMNS * side, index // COLUMNS * height
        digit = Image.fromarray(images[row]).resize(
            (WIDTH * ZOOM, HEIGHT * ZOOM), Image.Resampling.NEAREST
        )
        sheet.paste(digit, (left + 3, top + 3))
        caption = f"{labels[row]}: {found[0][row]} > {found[1][row]}"
        draw.text((left + 6, top + HEIGHT * ZOOM + 6), caption, fill=0)
    return sheet
