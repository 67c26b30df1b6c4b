"""`digits watch`: its options, and those of the runs that it starts."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from serving.argument_types import positive
from serving.errors import InputError


def add_watch(
    commands: Any, parents: list[argparse.ArgumentParser], run: argparse.ArgumentParser
) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--verbose`.
        run: parses the options of `digits run`.
    """
    watch = commands.add_parser(
        "watch",
        parents=parents,
        help="run the pipeline for each span of data that arrives",
        description="Runs `digits run` for the spans that DIR holds and for each that arrives, "
        "in order, one at a time. Ctrl-C ends it; started again, it goes on where it was.",
    )
    watch.add_argument(
        "--poll", type=positive, default=10, metavar="SECONDS", help="look so often (default: 10)"
    )
    watch.add_argument("directory", metavar="DIR", help="of span-1, span-2, ...; or with {SPAN}")
    watch.add_argument(
        "run_options",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="options of `digits run`, say --window 3 --root DIR",
    )
    watch.set_defaults(command=partial(_watch, run))


def _watch(run: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    from pipeline.config import RunRoot
    from pipeline.watch import Watcher, run_digits

    data = options.directory
    if "{SPAN" not in data:
        data = str(Path(data) / "span-{SPAN}")
    arguments = ["--data", data, *options.run_options]
    parsed = run.parse_args(arguments)  # says what is wrong before anything runs
    if parsed.data != data or parsed.span:
        raise InputError("--data and --span are what `digits watch` finds; give it DIR")
    Watcher(
        data,
        RunRoot(parsed.root.absolute()),
        lambda span: run_digits([*arguments, "--span", str(span)]),
        poll_seconds=options.poll,
    ).watch()
