"""`digits data` and `digits model`: their options."""

import argparse
from pathlib import Path
from typing import Any

from serving.argument_types import path
from serving.quiet import stderr_to


def add_data(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--data` and `--verbose`.
    """
    show_data = commands.add_parser("data", parents=parents, help="look at the digits")
    show_data.add_argument(
        "--out", type=path, default=Path("run"), metavar="DIR", help="of the contact sheet"
    )
    show_data.set_defaults(command=_data)


def add_model(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--recipe` and `--verbose`.
    """
    show_model = commands.add_parser("model", parents=parents, help="the layer table")
    show_model.set_defaults(command=_model)


def _data(options: argparse.Namespace) -> None:
    from rich.console import Console

    from pipeline.inspect import show_data

    with stderr_to(None, verbose=options.verbose):
        show_data(options.data, options.out, Console())


def _model(options: argparse.Namespace) -> None:
    from rich.console import Console

    from pipeline.inspect import show_model

    with stderr_to(None, verbose=options.verbose):
        show_model(options.recipe, Console())
