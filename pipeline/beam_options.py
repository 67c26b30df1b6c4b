"""The engine that runs StatisticsGen, Transform, Evaluator and the ingestion: Beam's options."""

import contextlib
import io
import re
from collections.abc import Sequence

from serving.errors import InputError

#: Beam's own name of each runner.
RUNNERS = {
    "direct": "DirectRunner",
    "dataflow": "DataflowRunner",
    "flink": "FlinkRunner",
    "prism": "PrismRunner",
    "spark": "SparkRunner",
}

_OPTION = re.compile(r"[a-z][a-z0-9_]*(=.*)?", re.DOTALL)


def beam_pipeline_args(runner: str, options: Sequence[str]) -> list[str]:
    """Returns the pipeline's `beam_pipeline_args`; empty for Beam's defaults.

    Args:
        runner: key of `RUNNERS`.
        options: `NAME=VALUE`, or `NAME` for a switch, as Beam names them, without dashes.

    Raises:
        InputError: an unknown runner, or an option of another form.
    """
    if runner not in RUNNERS:
        raise InputError(f"--beam-runner {runner}: unknown; choose one of: {', '.join(RUNNERS)}")
    for option in options:
        if not _OPTION.fullmatch(option):
            raise InputError(
                f"--beam-option {option}: expected NAME=VALUE, or NAME for a switch, without dashes"
            )
        if option.partition("=")[0] == "runner":
            raise InputError(f"--beam-option {option}: name the runner with --beam-runner")
    if runner == "direct" and not options:
        return []
    names = {option.partition("=")[0] for option in options}
    args = [f"--runner={RUNNERS[runner]}", *(f"--{option}" for option in options)]
    # TFDV imports only after TFX, which stands in for a module that tfx-bsl 1.21 has lost.
    args.append("--beam_plugin=tfx")
    if not names & {"sdk_container_image", "setup_file", "requirements_file", "extra_packages"}:
        # Workers have the environment of this process already. Without an image's name, TFX
        # packs itself up for them to install, for every component.
        args.append("--sdk_container_image=digits")
    return args


def check_beam_options(args: Sequence[str]) -> None:
    """Lets Beam look at its options before anything runs.

    Raises:
        InputError: Beam does not accept a value, or misses one.
    """
    if not args:
        return
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.runner import create_runner

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options = PipelineOptions(list(args))
            options.get_all_options()
            runner = create_runner(options.view_as(StandardOptions).runner)
            faults = PipelineOptionsValidator(options, runner).validate()
    except SystemExit as refusal:  # what argparse makes of a value of the wrong type
        message = complaint.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise InputError(f"--beam-option: {message}") from refusal
    if faults:
        raise InputError(f"--beam-option: {' '.join(faults[0].split())}")
