"""The Beam options of `digits run`, by name."""

import pytest

from pipeline.beam_options import RUNNERS, beam_pipeline_args, check_beam_options
from serving.errors import InputError


def test_beams_defaults_are_left_alone():
    assert beam_pipeline_args("direct", []) == []


def test_options_are_passed_on_and_workers_can_import_everything():
    args = beam_pipeline_args("flink", ["flink_master=host:8081", "flink_submit_uber_jar"])
    assert args == [
        "--runner=FlinkRunner",
        "--flink_master=host:8081",
        "--flink_submit_uber_jar",
        "--beam_plugin=tfx",
        "--sdk_container_image=digits",
    ]
    own = beam_pipeline_args("dataflow", ["sdk_container_image=gcr.io/p/digits"])
    assert [arg for arg in own if "image" in arg] == ["--sdk_container_image=gcr.io/p/digits"]


@pytest.mark.parametrize("runner", [name for name in RUNNERS if name != "dataflow"])
def test_beam_knows_every_runner(runner: str):
    check_beam_options(beam_pipeline_args(runner, ["direct_num_workers=1"]))


@pytest.mark.parametrize(
    ("runner", "option", "message"),
    [
        ("direct", "direct_num_workers=two", "argument --direct_num_workers: invalid int value"),
        ("flink", "environment_type=PROCESS", "Option process_command is required for environment"),
        ("dataflow", "region=europe-west1", "Missing GCS path option: temp_location"),
    ],
)
def test_what_beam_does_not_accept_is_refused(runner: str, option: str, message: str):
    with pytest.raises(InputError, match=message) as refusal:
        check_beam_options(beam_pipeline_args(runner, [option]))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beam-runner", "storm"], "--beam-runner storm: unknown; choose one of: direct, "),
        (["--beam-option", "--x=1"], "expected one argument"),
        (["--beam-option=--x=1"], "--beam-option --x=1: expected NAME=VALUE"),
        (["--beam-option", "=1"], "--beam-option =1: expected NAME=VALUE"),
        (["--beam-option", "runner=Flink"], "name the runner with --beam-runner"),
    ],
)
def test_malformed_options_end_the_run_before_it_begins(digits, tmp_path, arguments, message):
    outcome = digits("run", "--root", tmp_path / "run", *arguments)
    assert outcome.code == 2
    assert message in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()
