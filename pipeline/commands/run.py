"""`digits run`: its options, and the configuration that they make."""

import argparse
import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from components.recipes import RECIPES
from pipeline import defaults
from pipeline.tfx_extensions import skip_tfx_extensions
from serving.argument_types import positive, seed, share
from serving.errors import InputError
from serving.quiet import stderr_to


def add_run(commands: Any, parents: list[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--data`, `--root`, `--recipe` and `--verbose`.

    Returns:
        Its parser, for `digits watch`.
    """
    run = commands.add_parser(
        "run",
        parents=parents,
        help="run the pipeline",
        description="Exit codes: 0 both models pushed, 1 a gate refused, 2 bad input.",
    )
    run.add_argument("--epochs", type=positive, metavar="N", help="(default: the recipe's)")
    run.add_argument(
        "--tune",
        type=positive,
        metavar="TRIALS",
        help="search this data's best step size, batch size and augmentation first",
    )
    run.add_argument(
        "--tune-epochs", type=positive, default=3, metavar="N", help="of a trial (default: 3)"
    )
    run.add_argument("--seed", type=seed, default=defaults.SEED, metavar="N", help="(default: 1)")
    _add_gate(run, "--min-accuracy", defaults.MIN_ACCURACY, "gate")
    _add_gate(run, "--min-recall", defaults.MIN_RECALL, "gate, each digit")
    _add_gate(
        run,
        "--max-calibration-error",
        defaults.MAX_CALIBRATION_ERROR,
        "gate: mean distance of confidence from accuracy",
    )
    run.add_argument(
        "--min-edge-accuracy", type=share, metavar="X", help="gate (default: --min-accuracy)"
    )
    _add_gate(
        run,
        "--max-edge-disagreement",
        defaults.MAX_EDGE_DISAGREEMENT,
        "gate: share of digits that the edge model may label unlike the served model",
    )
    run.add_argument(
        "--no-cache", dest="cache", action="store_false", help="run unchanged components again"
    )
    spans = run.add_argument_group("with {SPAN} in --data, say 'DIR/span-{SPAN}'")
    spans.add_argument("--span", type=positive, metavar="N", help="(default: the highest)")
    spans.add_argument(
        "--window",
        type=positive,
        default=1,
        metavar="N",
        help="train on so many of the newest spans that this run root has read (default: 1)",
    )
    spans.add_argument(
        "--no-warm-start",
        dest="warm_start",
        action="store_false",
        help="do not start from the latest blessed model's weights",
    )
    run.add_argument(
        "--beam-runner",
        default="direct",
        metavar="NAME",
        help="engine of the Beam components: direct, dataflow, flink, prism or spark "
        "(default: direct, this process)",
    )
    run.add_argument(
        "--beam-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of that engine, as Beam names it, say flink_master=host:8081; can be repeated",
    )
    run.set_defaults(command=_run)
    return run


def _add_gate(run: argparse.ArgumentParser, flag: str, default: float, text: str) -> None:
    run.add_argument(
        flag, type=share, default=default, metavar="X", help=f"{text} (default: %(default)s)"
    )


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console

    from components.sources import locate
    from components.spans import locate_span
    from pipeline.beam_options import beam_pipeline_args, check_beam_options
    from pipeline.config import Gates, PipelineConfig, RunRoot, Span, Tuning
    from pipeline.locks import exclusive

    beam = beam_pipeline_args(options.beam_runner, options.beam_option)
    root = RunRoot(options.root.absolute())
    if re.search(r"[*?\[\n]", str(root.path)):
        raise InputError(f"--root {root.path}: TFX takes *, ?, [ and line breaks for patterns")
    span = None
    with stderr_to(None, verbose=options.verbose):
        if "{SPAN" in options.data:
            location, number = locate_span(options.data, options.span)
            span = Span(number=number, window=options.window, warm_start=options.warm_start)
        else:
            location = locate(options.data)
            if options.span or options.window > 1:
                raise InputError("--span and --window go with {SPAN} in --data")
    config = PipelineConfig(
        data=location,
        root=root,
        span=span,
        recipe=RECIPES[options.recipe].with_epochs(options.epochs),
        seed=options.seed,
        gates=Gates(
            min_accuracy=options.min_accuracy,
            min_recall=options.min_recall,
            max_calibration_error=options.max_calibration_error,
            min_edge_accuracy=options.min_accuracy
            if options.min_edge_accuracy is None
            else options.min_edge_accuracy,
            max_edge_disagreement=options.max_edge_disagreement,
        ),
        tuning=Tuning(trials=options.tune, epochs=options.tune_epochs) if options.tune else None,
        enable_cache=options.cache,
        beam_pipeline_args=beam,
    )
    console = Console()
    with (
        exclusive(root, root.log, "another run is using it; wait, or name another", make_root=True),
        stderr_to(root.log, verbose=options.verbose),
        _temporary_directory(),
    ):
        with console.status("loading TFX"):
            skip_tfx_extensions()
            from pipeline.run import Interrupted, run_pipeline

            check_beam_options(beam)
        try:
            run_pipeline(config, console)
        except Interrupted as interrupted:
            raise KeyboardInterrupt from interrupted


@contextlib.contextmanager
def _temporary_directory() -> Iterator[None]:
    """Takes what the libraries, and processes of theirs, leave in the directory for such files."""
    outer, outer_variable = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="digits-run-", ignore_cleanup_errors=True) as inner:
        tempfile.tempdir = os.environ["TMPDIR"] = inner
        try:
            yield
        finally:
            tempfile.tempdir = outer
            if outer_variable is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = outer_variable
