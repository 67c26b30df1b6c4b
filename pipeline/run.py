"""`digits run`: the whole pipeline on this machine."""

import datetime
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from components.cluster import require_no_cluster
from pipeline.config import PipelineConfig
from pipeline.display import LiveDisplay, print_summary
from pipeline.graph import create_pipeline
from pipeline.local_runner import LocalRunner, NodeRun
from pipeline.summary import summarize, write_summary
from serving.errors import GateRefused


class Interrupted(Exception):
    """Ctrl-C, as an error that TFX records and cleans up after like any other."""


def run_pipeline(config: PipelineConfig, console: Console) -> dict[str, Any]:
    """Runs the pipeline, shows its progress and writes its summary and its report.

    Returns:
        The summary.

    Raises:
        InputError: the data is bad, or `TF_CONFIG` describes a cluster.
        GateRefused: a gate refused the data or a model; nothing was pushed.
        Interrupted: the user pressed Ctrl-C.
    """
    require_no_cluster()
    started = datetime.datetime.now(datetime.UTC)
    display = LiveDisplay(console)
    runner = LocalRunner(display.start, display.end)
    pressed = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        pressed.set()
        raise Interrupted

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        runner.run(create_pipeline(config))
    except Exception as error:
        if pressed.is_set():  # Beam wraps what is raised while it builds its graph
            raise Interrupted from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
        display.close()
    summary = summarize(config, runner.nodes, started)
    write_summary(summary, config.root.summary)
    print_summary(console, summary, config.root)
    with console.status("drawing the report"):
        page = _report(summary, runner.nodes, config, started)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
    refused = [name for name, gate in summary["gates"].items() if not gate["blessed"]]
    if refused:
        raise GateRefused(f"the {' and the '.join(refused)} gate refused; nothing was pushed")
    return summary


def _report(
    summary: dict[str, Any],
    nodes: Mapping[str, NodeRun],
    config: PipelineConfig,
    started: datetime.datetime,
) -> Path:
    # They take a second, which a run that fails need not wait for.
    from pipeline.report.latency import with_latency
    from pipeline.report.pictures import look
    from pipeline.report.write import write_report

    pictures = look(nodes["ExampleGen"].outputs["examples"], nodes["Trainer"].outputs.get("model"))
    directory = config.root.reports / started.strftime("%Y%m%d-%H%M%S")
    values = with_latency({**summary, "pictures": pictures}, config.root)
    return write_report(values, directory)
