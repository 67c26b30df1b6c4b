"""`digits drift`. Nothing here imports a library that is slow to load."""

import argparse
from typing import Any

from serving.argument_types import path
from serving.errors import GateRefused, InputError
from serving.quiet import stderr_to

#: Below this the tests' distributions are no good approximations.
MIN_DIGITS = 50


def add_drift(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--root` and `--verbose`.
    """
    drift = commands.add_parser(
        "drift",
        parents=parents,
        help="compare a server's logged requests with what the model learnt from",
        description="Exit codes: 0 no drift, 1 drift, 2 bad input.",
    )
    drift.add_argument(
        "--log", nargs="+", required=True, metavar="FILE", help="of the server's logging_config"
    )
    drift.add_argument(
        "--alpha",
        type=float,
        default=0.01,
        metavar="X",
        help="probability that a command alarms though nothing has changed (default: 0.01)",
    )
    drift.add_argument(
        "--version", type=int, metavar="N", help="whose requests (default: the one with the most)"
    )
    drift.add_argument("--data", metavar="WHAT", help="that made it (default: as the run says)")
    drift.add_argument(
        "--out", type=path, metavar="DIR", help="of drift.json, drift.png (default: ROOT/drift)"
    )
    drift.add_argument("--metrics-file", type=path, metavar="FILE", help="Prometheus's text format")
    drift.set_defaults(command=_drift)


def _drift(options: argparse.Namespace) -> None:
    from rich.console import Console

    if not 0 < options.alpha < 1:
        raise InputError(f"--alpha {options.alpha}; expected more than 0 and less than 1")
    with stderr_to(None, verbose=options.verbose):
        drifted = _compare(options, Console())
    if drifted:
        raise GateRefused(f"drift of {', '.join(drifted)}")


def _compare(options: argparse.Namespace, console: Any) -> list[str]:
    """Prints and writes the comparison; returns the features that have drifted."""
    import datetime
    from dataclasses import asdict

    from export.facts import Drift, FeatureDrift
    from pipeline.atomic import replace_file
    from pipeline.config import RunRoot
    from pipeline.drift import outputs
    from pipeline.drift.comparison import compare
    from pipeline.drift.features import PICTURE_FEATURES
    from pipeline.drift.histograms import histogram
    from pipeline.drift.reference import reference_of
    from pipeline.drift.requests import read_requests
    from pipeline.release.versions import pushed_versions, version_of
    from pipeline.report.drift import DRIFT_FILE

    root = RunRoot(options.root)
    requests = read_requests(options.log, options.version)
    if requests.digits < MIN_DIGITS:
        raise InputError(
            f"--log: {requests.digits} digits of version {requests.version}; at least "
            f"{MIN_DIGITS} are needed: log more, or a greater sampling_rate"
        )
    version = version_of(pushed_versions(root), requests.version)
    reference = reference_of(root, version, options.data)
    features = {
        name: values
        for name, values in requests.features.items()
        if name in PICTURE_FEATURES or len(values) >= MIN_DIGITS
    }
    comparisons = compare(reference, features, alpha=options.alpha)
    drift = Drift(
        checked=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=version.number,
        digits=requests.digits,
        alpha=options.alpha,
        skipped_records=requests.skipped,
        drift=any(found.is_drift for found in comparisons),
        features=[
            FeatureDrift(
                **asdict(found),
                histogram=histogram(
                    found.feature, reference[found.feature], features[found.feature]
                ),
            )
            for found in comparisons
        ],
    )
    out = options.out or root.drift
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / DRIFT_FILE, drift.model_dump_json(indent=1) + "\n")
        outputs.write_plot(out / "drift.png", drift)
        if options.metrics_file:
            replace_file(options.metrics_file, outputs.to_prometheus(drift))
    except OSError as error:
        raise InputError(f"{error.filename or out}: {error.strerror}") from error
    console.print(outputs.to_table(drift))
    console.print(
        f"{drift.digits:,} digits of version {drift.version}; {drift.skipped_records} records "
        f"skipped; false alarms: at most {options.alpha:.2%} of such commands",
        highlight=False,
    )
    console.print(f"plot: {out / 'drift.png'}", soft_wrap=True, highlight=False)
    return drift.drifted
