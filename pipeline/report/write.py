"""A run's report on disk: the page, its pictures as files, the facts, and the model card."""

import base64
import io
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic
from PIL import Image, ImageDraw

from export.facts import Facts
from export.model_card import CARD_FILE, model_card
from pipeline.config import RunRoot
from pipeline.report import charts
from pipeline.report.page import render
from serving.errors import InputError

PAGE_FILE = "report.html"
FACTS_FILE = "facts.json"
#: In a directory of its own, with the charts.
PICTURES = "pictures"
SCALE = 4


def write_report(values: dict[str, Any], directory: Path) -> Path:
    """Writes a report beside, then puts it in place: whole, or not at all.

    Args:
        values: of `export.facts.Facts`, as JSON values.
        directory: of this report; an older one is replaced.

    Returns:
        The page.
    """
    facts = Facts.model_validate(values)
    drawn = charts.draw(facts)
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        beside.chmod(0o755)
        (beside / PAGE_FILE).write_text(render(facts, drawn), encoding="utf-8")
        (beside / CARD_FILE).write_text(model_card(facts), encoding="utf-8")
        (beside / FACTS_FILE).write_text(json.dumps(values, indent=1))
        (beside / PICTURES).mkdir()
        for name, chart in drawn.items():
            (beside / PICTURES / f"{name}.png").write_bytes(chart.png)
        for name, sheet in _sheets(facts).items():
            sheet.save(beside / PICTURES / f"{name}.png")
        if directory.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{directory.name}-old-", dir=directory.parent))
            os.rename(directory, old / directory.name)
            os.rename(beside, directory)
            shutil.rmtree(old)
        else:
            os.rename(beside, directory)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return directory / PAGE_FILE


def find(root: RunRoot, version: str | None) -> Path:
    """Returns the directory of the last run's report, or of the run that first pushed a version.

    Raises:
        InputError: there is none.
    """
    found = sorted(path.parent for path in root.reports.glob(f"[0-9]*/{FACTS_FILE}"))
    if not found:
        raise InputError(f"{root.reports}: no report; run `digits run` first")
    if version is None:
        return found[-1]
    versions = {}
    for path in reversed(found):
        pushed = read(path).get("pushed")
        if pushed:
            versions[pushed["version"]] = path
    if version not in versions:
        known = ", ".join(sorted(versions)) or "none"
        raise InputError(f"--version {version}: no report; those of {root.reports}: {known}")
    return versions[version]


def read(directory: Path) -> dict[str, Any]:
    """Reads the facts of a report, checked, as JSON values.

    Raises:
        InputError: they are damaged.
    """
    path = directory / FACTS_FILE
    try:
        values = json.loads(path.read_bytes())
        Facts.model_validate(values)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place}: {first['msg']}; run `digits run` again") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}; run `digits run` again") from error
    return values


def _sheets(facts: Facts) -> dict[str, Image.Image]:
    """The pictures that the page shows one by one, as contact sheets."""
    if not facts.pictures:
        return {}
    sheets = {"means": _sheet([(png, "") for png in facts.pictures.mean_pngs if png], 10)}
    if mistakes := facts.pictures.mistakes:
        sheets["mistakes"] = _sheet(
            [(m.png, f"{m.label} as {m.predicted}, {m.confidence:.1%}") for m in mistakes], 6
        )
    return sheets


def _sheet(pictures: Sequence[tuple[str, str]], columns: int) -> Image.Image:
    """Puts pictures, base64 PNG files with captions, into rows."""
    caption = 16 if any(text for _, text in pictures) else 0
    cell, gap = 28 * SCALE, 10
    rows = -(-len(pictures) // columns)
    size = (columns * (cell + gap) + gap, rows * (cell + gap + caption) + gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for index, (png, text) in enumerate(pictures):
        row, column = divmod(index, columns)
        left, top = gap + column * (cell + gap), gap + row * (cell + gap + caption)
        picture = Image.open(io.BytesIO(base64.b64decode(png)))
        sheet.paste(picture.resize((cell, cell), Image.Resampling.NEAREST), (left, top))
        if text:
            draw.text((left, top + cell + 2), text, fill="black")
    return sheet
