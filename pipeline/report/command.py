"""`digits report`: draws a run's report again, and shows it."""

import webbrowser
from pathlib import Path

from rich.console import Console

from pipeline.config import RunRoot
from pipeline.report.latency import with_latency
from pipeline.report.write import find, read, write_report


def report(root: RunRoot, version: str | None, console: Console, *, show: bool) -> Path:
    """Draws a report again from its facts, as after an edit of the page.

    Args:
        root: of the run.
        version: that the run pushed; None for the last run.
        console: where to print the page's path.
        show: open the page in a browser.

    Returns:
        The page.

    Raises:
        InputError: there is no such report, or its facts are damaged.
    """
    directory = find(root, version)
    values = with_latency(read(directory), root.path)
    page = write_report(values, directory)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if show and not webbrowser.open(page.absolute().as_uri()):
        console.print("no browser here to open it", highlight=False)
    return page
