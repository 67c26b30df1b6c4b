"""What a run shows: a live line a component, then the summary."""

import logging
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from pipeline.config import RunRoot
from pipeline.local_runner import NodeRun

_MARKS = {
    "ran": "[green]✓[/]",
    "cached": "[cyan]=[/]",
    "skipped": "[yellow]-[/]",
    "failed": "[red]✗[/]",
}


class LiveDisplay(logging.Handler):
    """Shows the component that runs, its progress and the seconds of those that ran."""

    def __init__(self, console: Console):
        super().__init__(logging.DEBUG)
        self._console = console
        self._status: Status | None = None
        self._name = ""
        logging.getLogger("digits").setLevel(logging.INFO)
        logging.getLogger("digits.progress").setLevel(logging.DEBUG)
        logging.getLogger("digits").addHandler(self)
        logging.getLogger("digits").propagate = False

    def close(self) -> None:
        """Stops listening."""
        logging.getLogger("digits").removeHandler(self)
        logging.getLogger("digits").propagate = True
        self._stop()
        super().close()

    def start(self, name: str) -> None:
        """A component starts."""
        self._name = name
        self._status = self._console.status(name)
        self._status.start()

    def end(self, run: NodeRun) -> None:
        """A component has ended."""
        self._stop()
        self._console.print(
            f"{_MARKS[run.state]} {run.name:<20}{run.state:<8}{run.seconds:6.1f} s", highlight=False
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Shows progress in the live line, and what is worth keeping above it."""
        message = escape(record.getMessage())
        if record.levelno >= logging.WARNING:
            self._console.print(f"[yellow]warning:[/] {message}", highlight=False)
        elif self._console.is_terminal:
            if self._status:
                self._status.update(f"{self._name}: {message}")
        elif record.levelno >= logging.INFO:
            self._console.print(f"  {message}", highlight=False)

    def _stop(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def print_summary(console: Console, summary: dict[str, Any], root: RunRoot) -> None:
    """Prints the figures of a summary, every one of which is in `summary.json`."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for split, part in summary["data"]["splits"].items():
        table.add_row(f"{split} digits", f"{part['examples']:,}")
    if spans := summary["data"]["trained_on_spans"]:
        table.add_row("trained on spans", ", ".join(map(str, spans)))
    if tuning := summary["tuning"]:
        choices = ", ".join(f"{name} {value:.4g}" for name, value in tuning["best"].items())
        table.add_row("tuned", f"{choices}: the best of {len(tuning['trials'])} trials")
    if model := summary["model"]:
        low, high = model["interval_95"]
        table.add_row("test accuracy", f"{model['accuracy']:.2%} (95 %: {low:.2%} to {high:.2%})")
        if (before := model["baseline"]) and not before["same"]:
            table.add_row("latest blessed", f"{before['accuracy']:.2%} on the same digits")
        digit, recall = min(enumerate(model["recall"]), key=lambda pair: pair[1])
        table.add_row("lowest recall", f"{recall:.2%} (digit {digit})")
        table.add_row("calibration error", f"{model['expected_calibration_error']:.4f}")
        table.add_row(
            "served model", f"{model['parameters']:,} parameters, {model['bytes']:,} bytes"
        )
    if edge := summary["edge"]:
        table.add_row(
            "int8 accuracy",
            f"{edge['accuracy']:.2%} ({edge['lost']} digits lost, {edge['gained']} gained)",
        )
        table.add_row("int8 model", f"{edge['bytes']:,} bytes")
        passed = [name for name, metrics in edge["variants"].items() if not metrics["refusals"]]
        table.add_row("edge variants", ", ".join(passed))
        stress = edge["stress"]["disturbances"]
        worst = min(stress, key=lambda name: stress[name]["preprocessed_accuracy"])
        table.add_row(
            "under stress",
            f"{stress[worst]['preprocessed_accuracy']:.2%} ({worst}; {edge['stress']['digits']:,} "
            "digits, preprocessed)",
        )
    for name, gate in summary["gates"].items():
        verdict = "[green]blessed[/]" if gate["blessed"] else "[red]REFUSED[/]"
        table.add_row(f"{name} gate", f"{verdict}: {escape(gate['reason'])}")
    console.print()
    console.print(table, highlight=False)
    console.print()
    if pushed := summary["pushed"]:
        console.print(f"pushed version {pushed['version']}", highlight=False)
        console.print(
            f"  served model  {escape(pushed['serving'])}", soft_wrap=True, highlight=False
        )
        console.print(f"  edge model    {escape(pushed['edge'])}", soft_wrap=True, highlight=False)
        option = "" if root.path == Path("run").absolute() else f" --root {root.path}"
        console.print("next", highlight=False)
        console.print(f"  digits predict{option} PICTURE...", soft_wrap=True, highlight=False)
        console.print(
            f"  digits predict{option} --edge PICTURE...", soft_wrap=True, highlight=False
        )
    else:
        console.print("nothing was pushed", highlight=False)
    console.print(f"all figures: {root.summary}", soft_wrap=True, highlight=False)
