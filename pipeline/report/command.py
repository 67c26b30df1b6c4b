"""`digits report`: draws a run's report again from its facts, and shows it."""

import argparse
from typing import Any

from serving.errors import InputError
from serving.quiet import stderr_to


def add_report(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--root` and `--verbose`.
    """
    report = commands.add_parser(
        "report",
        parents=parents,
        help="draw a run's report again, and show it",
        description="Each run writes its report; this draws it again from its facts.",
    )
    report.add_argument(
        "--version", metavar="V", help="of the run that pushed it (default: the last run)"
    )
    report.add_argument("--open", action="store_true", help="in a browser")
    report.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> None:
    import webbrowser

    from rich.console import Console

    from pipeline.config import RunRoot
    from pipeline.report.drift import with_drift
    from pipeline.report.latency import with_latency
    from pipeline.report.write import find, read, write_report

    console = Console()
    with stderr_to(None, verbose=options.verbose):
        root = RunRoot(options.root)
        directory = find(root, options.version)
        values = with_drift(with_latency(read(directory), root), root)
        try:
            page = write_report(values, directory)
        except OSError as error:
            raise InputError(f"--root {root.path}: {error.strerror}") from error
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
        if options.open and not webbrowser.open(page.absolute().as_uri()):
            console.print("no browser here to open it", highlight=False)
