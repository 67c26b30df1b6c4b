"""Types of command line arguments: `type=` of argparse's `add_argument`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)

#: Above it, integers do not fit into the fields that they are for.
MAX_INTEGER = (1 << 31) - 1


def positive(text: str) -> int:
    """Reads an integer of at least 1."""
    expected = f"a positive integer, at most {MAX_INTEGER}"
    return _read(text, int, lambda value: 1 <= value <= MAX_INTEGER, expected)


def seed(text: str) -> int:
    """Reads a seed of random numbers."""
    expected = f"an integer from 0 to {MAX_INTEGER}"
    return _read(text, int, lambda value: 0 <= value <= MAX_INTEGER, expected)


def path(text: str) -> Path:
    """Reads a path. An empty one, which an unset variable of a shell leaves, is none."""
    if not text:
        raise argparse.ArgumentTypeError("empty; name a path, say . for the current directory")
    try:
        return Path(text).expanduser()  # the shell does it, but not after --root=
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: no such user") from error


def share(text: str) -> float:
    """Reads a number from 0 to 1."""
    return _read(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def port(text: str) -> int:
    """Reads the number of a TCP port."""
    return _read(text, int, lambda value: 0 <= value < 1 << 16, "a port, 0 to 65535")


def seconds(text: str) -> float:
    """Reads a finite duration, which may be 0."""
    return _read(text, float, lambda value: 0 <= value < float("inf"), "seconds, 0 or more")


def positive_seconds(text: str) -> float:
    """Reads a duration of more than 0."""
    return _read(text, float, lambda value: value > 0, "a positive number of seconds")


def boolean(text: str) -> bool:
    """Reads `true` or `false`, as TensorFlow Serving's flags have it."""
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text}: expected true or false")


def _read(
    text: str,
    kind: Callable[[str], Number],
    is_good: Callable[[Number], bool],
    expected: str,
) -> Number:
    try:
        value = kind(text)
        if is_good(value):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text}: expected {expected}")
