"""`digits run`: the whole pipeline on this machine."""

import signal
from types import FrameType
from typing import Any

from rich.console import Console

from pipeline.config import PipelineConfig
from pipeline.display import LiveDisplay, print_summary
from pipeline.graph import create_pipeline
from pipeline.local_runner import LocalRunner
from pipeline.summary import summarize, write_summary
from serving.errors import GateRefused


class Interrupted(Exception):
    """Ctrl-C, as an error that TFX records and cleans up after like any other."""


def run_pipeline(config: PipelineConfig, console: Console) -> dict[str, Any]:
    """Runs the pipeline, shows its progress and writes its summary.

    Returns:
        The summary.

    Raises:
        InputError: the data is bad.
        GateRefused: a gate refused the data or a model; nothing was pushed.
        Interrupted: the user pressed Ctrl-C.
    """
    display = LiveDisplay(console)
    runner = LocalRunner(display.start, display.end)
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        runner.run(create_pipeline(config))
    finally:
        signal.signal(signal.SIGINT, before)
        display.close()
    summary = summarize(config, runner.nodes)
    write_summary(summary, config.root.summary)
    print_summary(console, summary, config.root)
    refused = [name for name, gate in summary["gates"].items() if not gate["blessed"]]
    if refused:
        raise GateRefused(f"the {' and the '.join(refused)} gate refused; nothing was pushed")
    return summary


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted("interrupted; what was served before still is")
