"""The whole pipeline with its Beam components on real engines, against Beam's direct runner.

`make beam-engines` fetches them into `.engines`; what is not there is skipped.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.splits import SPLITS
from tests.conftest import PipelineRun

ENGINES = Path(__file__).parent.parent / ".engines"


@pytest.fixture
def worker() -> Iterator[str]:
    """A process for Beam's workers, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.beam_worker", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield re.fullmatch(r"serving Beam workers on (.+)\n", process.stdout.readline())[1]
    process.terminate()
    process.wait()


@pytest.mark.parametrize("engine", ["prism", "flink"])
def test_an_engine_gives_what_the_direct_runner_gives(
    digits, pipeline_run: PipelineRun, tmp_path: Path, worker: str, engine: str
):
    pattern, option = {
        "prism": ("prism", "prism_location"),
        "flink": ("*flink*job-server*.jar", "flink_job_server_jar"),
    }[engine]
    found = next(ENGINES.glob(pattern), None)
    if found is None:
        pytest.skip(f"{ENGINES}/{pattern}: not there; `make beam-engines` fetches it")
    if engine == "flink" and not shutil.which("java"):
        pytest.skip("Flink needs java")
    root = tmp_path / "run"
    outcome = digits(
        *("run", "--root", root, "--beam-runner", engine, "--beam-option", f"{option}={found}"),
        *("--beam-option", "environment_type=EXTERNAL"),
        *("--beam-option", f"environment_config={worker}"),
    )
    assert outcome.code == 0, outcome.err
    ran = PipelineRun(root, outcome)
    ours, theirs = ran.summary, pipeline_run.summary
    assert ours["data"] == theirs["data"]
    for key in ("accuracy", "recall", "precision", "confusion_matrix", "history"):
        assert ours["model"][key] == theirs["model"][key], key
    assert ours["gates"] == theirs["gates"]
    for split in SPLITS:
        assert statistics(ran, split) == statistics(pipeline_run, split)


def statistics(run: PipelineRun, split: str) -> list[statistics_pb2.FeatureNameStatistics]:
    """TFDV's statistics, whose order of features is that in which they were merged."""
    path = run.artifact("StatisticsGen", "statistics") / f"Split-{split}" / "FeatureStats.pb"
    content = path.read_bytes()
    (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
    return sorted(dataset.features, key=lambda feature: list(feature.path.step))
