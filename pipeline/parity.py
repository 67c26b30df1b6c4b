"""`digits parity`: the same digits through every engine, and the contract between them.

The reference is the first engine, Keras where it is there. The contract:

- an engine in floating point gives each digit the reference's label;
- a quantised one gives the reference's label to at least 99.9 % of the digits;
- a server with the backend LiteRT, and LiteRT.js, give LiteRT's very scores;
- TensorFlow Lite Micro, in integers, gives those of LiteRT's built-in kernels to at least 99.9 % of
  the digits;
- it and LiteRT's default kernels, which round otherwise, differ from the built-in ones by at most
  the variant's `kernel_tolerance`, two steps of its logits.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import engines
from pipeline.config import RunRoot
from pipeline.engines import Engine, Missing
from serving.errors import GateRefused, InputError
from serving.pictures import centre_digit

QUANTISED_DISAGREEMENT = 0.001


@dataclass(frozen=True)
class Row:
    """How an engine compares.

    Attributes:
        name: the engine's.
        labels_equal: digits to which it gives the reference's label.
        difference: the largest difference of a probability from the reference's.
        same_as: the name of the engine whose scores it must have, if any.
        scores_equal: digits to which it gives that engine's very scores.
        same_difference: the largest difference of a probability from that engine's.
        broken: what of the contract does not hold.
    """

    name: str
    labels_equal: int
    difference: float
    same_as: str | None
    scores_equal: int | None
    same_difference: float | None
    broken: Sequence[str]


def compare(running: Iterable[Engine], digits: np.ndarray) -> Iterator[Row]:
    """Runs one engine after the other.

    Args:
        running: the reference first, and each before those that are compared with it.
        digits: uint8 [n, 28, 28].
    """
    centred = np.stack([centre_digit(digit) for digit in digits])
    answers: dict[str, np.ndarray] = {}
    reference: Engine | None = None
    expected: dict[bool, np.ndarray] = {}
    for engine in running:
        found = np.asarray(engine.run(digits), np.float32)
        if found.shape != (len(digits), 10):
            raise RuntimeError(
                f"{engine.name}: {list(found.shape)} answers to {len(digits)} digits"
            )
        answers[engine.name] = found
        reference = reference or engine
        if engine.pictures not in expected:
            expected[engine.pictures] = np.asarray(
                reference.run(centred if engine.pictures else digits), np.float32
            )
        yield _row(engine, found, expected[engine.pictures], answers)


def _row(
    engine: Engine, found: np.ndarray, expected: np.ndarray, answers: dict[str, np.ndarray]
) -> Row:
    broken = []
    count = len(found)
    labels_equal = int((found.argmax(1) == expected.argmax(1)).sum())
    allowed = math.ceil(QUANTISED_DISAGREEMENT * count) if engine.quantised else 0
    if count - labels_equal > allowed:
        broken.append(f"{count - labels_equal} labels differ, at most {allowed} may")
    if not np.isfinite(found).all():
        broken.append("some probabilities are no numbers")
    same_as = scores_equal = same_difference = None
    if engine.same:
        same_as, tolerance, differing = engine.same
        other = answers[same_as]
        scores_equal = int((found == other).all(1).sum())
        same_difference = float(np.abs(found - other).max())
        other_scores, allowed = count - scores_equal, math.ceil(differing * count)
        if other_scores > allowed:
            broken.append(
                f"{other_scores} scores are not those of {same_as}, at most {allowed} may"
            )
        if not same_difference <= tolerance:
            broken.append(f"differs from {same_as} by {same_difference:.2g} > {tolerance:.2g}")
    return Row(
        engine.name,
        labels_equal,
        float(np.abs(found - expected).max()),
        same_as,
        scores_equal,
        same_difference,
        broken,
    )


def show_parity(
    root: RunRoot,
    console: Console,
    *,
    data: str | None,
    count: int | None,
    addresses: Sequence[str],
    web: bool,
) -> None:
    """Prints the table of all engines.

    Args:
        root: has the pushed models.
        console: shows the table.
        data: whose test split to take; the golden digits of the bundle if None.
        count: how many digits; all if None.
        addresses: model servers to ask; `digits serve` is started if there are none.
        web: run LiteRT.js in a browser too.

    Raises:
        GateRefused: the contract is broken.
        InputError: there is no pushed model, or an option is wrong.
    """
    edge, served = engines.current_edge(root)
    digits = (_golden_digits(edge) if data is None else _test_digits(data))[:count]
    missing: list[Missing] = []
    with contextlib.ExitStack() as stack, console.status("comparing") as status:
        rows = []
        for row in compare(_present(stack, root, edge, served, addresses, web, missing), digits):
            rows.append(row)
            status.update(f"compared {escape(row.name)}")
    console.print(_table(rows, len(digits), edge.name))
    for engine in missing:
        console.print(f"not compared: {engine.name}: {engine.reason}", markup=False)
    broken = [f"{row.name}: {reason}" for row in rows for reason in row.broken]
    for line in broken:
        console.print(f"broken: {line}", style="red", markup=False)
    if broken:
        raise GateRefused(f"{len(broken)} breaches of the contract")
    console.print("the contract holds")


def _present(
    stack: contextlib.ExitStack,
    root: RunRoot,
    edge: Path,
    served: Path,
    addresses: Sequence[str],
    web: bool,
    missing: list[Missing],
) -> Iterator[Engine]:
    """Yields all engines that are there, and collects the others."""

    def found() -> Iterator[Engine | Missing]:
        yield from engines.keras_engine(root, edge)
        yield from engines.saved_model_engines(served)
        yield from engines.litert_engines(edge)
        yield from engines.micro_engines(edge)
        for address in addresses:
            yield engines.address_engine(address)
        if not addresses:
            for backend in ("tensorflow", "litert"):
                with engines.server_engines(root, backend) as server:
                    yield from server
        if web:
            yield from stack.enter_context(engines.web_engines(edge))
        else:
            yield Missing("LiteRT.js", "not asked for: --web")

    for engine in found():
        if isinstance(engine, Missing):
            missing.append(engine)
        else:
            yield engine


def _golden_digits(edge: Path) -> np.ndarray:
    path = edge / "golden" / "digits.bin"
    try:
        return np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 28, 28)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no golden digits; name data instead: --data") from error


def _test_digits(data: str) -> np.ndarray:
    from components.sources import HEIGHT, WIDTH, locate, open_source
    from components.splits import split_batches

    batches = split_batches(open_source(locate(data)))
    images = np.concatenate([images for split, (images, _) in batches if split == "test"])
    return images.reshape(-1, HEIGHT, WIDTH)


def _table(rows: Sequence[Row], count: int, version: str) -> Table:
    title = f"version {version}, {count:,} digits, against {escape(rows[0].name)}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("engine", no_wrap=True)
    for heading in (
        "labels\nequal",
        "largest\ndiffer.",
        "scores\nequal",
        "those\nof",
        "differ\nby",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    numbers = {row.name: number for number, row in enumerate(rows, 1)}
    for row in rows:
        table.add_row(
            str(numbers[row.name]),
            escape(row.name),
            f"{row.labels_equal:,}",
            f"{row.difference:.1e}",
            "" if row.scores_equal is None else f"{row.scores_equal:,}",
            "" if row.same_as is None else str(numbers[row.same_as]),
            "" if row.same_difference is None else f"{row.same_difference:.0e}",
            style="red" if row.broken else "",
        )
    return table
