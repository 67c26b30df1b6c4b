"""Spans: numbered parts of a data set that keep arriving, as TFX understands them.

`DIR/span-{SPAN}` names `DIR/span-1`, `DIR/span-2` and so on, `DIR/span-{SPAN:3}` names
`DIR/span-001`. Each is a data set in any format of `components.sources`.
"""

import glob
import os
import re

from components.sources import Location, locate
from serving.errors import InputError

_PLACEHOLDER = re.compile(r"\{SPAN(?::(?P<width>[1-9][0-9]?))?\}")


def find_spans(data: str) -> dict[int, str]:
    """Returns the paths that a pattern names, by span number, lowest first.

    Args:
        data: a path with `{SPAN}`, or `{SPAN:n}` for numbers with n digits.

    Raises:
        InputError: the path holds no such placeholder, or more than one.
    """
    matches = list(_PLACEHOLDER.finditer(data))
    if len(matches) != 1:
        raise InputError(f"--data {data}: expected {{SPAN}} once in it, say DIR/span-{{SPAN}}")
    before, after = data[: matches[0].start()], data[matches[0].end() :]
    width = matches[0]["width"]
    digits = rf"[0-9]{{{width}}}" if width else "[1-9][0-9]*"
    number = re.compile(rf"{re.escape(before)}({digits}){re.escape(after)}")
    paths = glob.glob(f"{glob.escape(before)}*{glob.escape(after)}")
    found = {int(match[1]): path for path in paths if (match := number.fullmatch(path))}
    return {span: found[span] for span in sorted(found) if span > 0}


def locate_span(data: str, span: int | None) -> tuple[Location, int]:
    """Finds the files of a span.

    Args:
        data: as in `find_spans`.
        span: its number; None for the highest.

    Returns:
        The location, with the placeholder in its pattern, and the number.

    Raises:
        InputError: there is no such span, or nothing readable in it.
    """
    data = os.path.abspath(os.path.expanduser(data))
    spans = find_spans(data)
    if not spans:
        raise InputError(
            f"--data {data}: no such span; number them from 1, and write {{SPAN:3}} for 001"
        )
    number = max(spans) if span is None else span
    if number not in spans:
        raise InputError(f"--span {number}: not in {data}; there are {', '.join(map(str, spans))}")
    location = locate(spans[number])
    within = os.path.relpath(os.path.join(*location), spans[number])
    pattern = data if within == "." else os.path.join(data, within)
    base = os.path.dirname(data[: _PLACEHOLDER.search(data).start()])  # type: ignore[union-attr]
    return Location(base, os.path.relpath(pattern, base)), number
