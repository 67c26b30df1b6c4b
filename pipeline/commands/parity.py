"""`digits parity`: its options."""

import argparse
from typing import Any

from serving.argument_types import positive
from serving.quiet import stderr_to


def add_parity(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--root` and `--verbose`.
    """
    parity = commands.add_parser(
        "parity",
        parents=parents,
        help="compare everything that runs the network, digit by digit",
        description="Exit codes: 0 the contract holds, 1 it is broken, 2 bad input.",
    )
    parity.add_argument(
        "--data", help="take its test split, not the bundle's golden digits; as in `digits run`"
    )
    parity.add_argument("--digits", type=positive, metavar="N", help="only the first N")
    parity.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="ask a server that runs already, instead of starting `digits serve`; repeatable",
    )
    parity.add_argument("--web", action="store_true", help="run LiteRT.js in headless Chromium too")
    parity.set_defaults(command=_parity)


def _parity(options: argparse.Namespace) -> None:
    from rich.console import Console

    from pipeline.config import RunRoot
    from pipeline.parity import show_parity

    with stderr_to(None, verbose=options.verbose):
        show_parity(
            RunRoot(options.root.absolute()),
            Console(),
            data=options.data,
            count=options.digits,
            addresses=options.server,
            web=options.web,
        )
