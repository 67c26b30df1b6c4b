import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import benchmark, engines
from tests.conftest import PipelineRun


@pytest.fixture(scope="module")
def result(pipeline_run: PipelineRun, sample, tmp_path_factory) -> dict:
    """A short benchmark, on a machine without tf2onnx."""

    def missing(tflite: Path, onnx: Path) -> None:
        raise RuntimeError("No module named tf2onnx")

    (version,) = pipeline_run.versions()["edge"][:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "convert_to_onnx", missing)
        return benchmark.benchmark(
            pipeline_run.root / "edge" / version,
            pipeline_run.root / "serving" / "digits" / version,
            sample[0][::500],
            rounds=2,
            calls=20,
        )


def test_every_variant_and_tensorflow_are_measured(result):
    rows = {row["name"]: row for row in result["engines"]}
    variants = ["float32", "dynamic", "float16", "int8", "uint8", "uint8_rgb"]
    assert list(rows) == [
        *(f"LiteRT {name}" for name in variants),
        *("TensorFlow signature", "TensorFlow tf.function"),
    ]
    for row in rows.values():
        assert 0 < row["p50_microseconds"] <= row["p99_microseconds"]
        assert row["load_milliseconds"] > 0
        assert row["labels_unlike_reference"] <= 1  # of ten
    assert rows["LiteRT float32"]["speed_up"] == 1
    # A process of its own each: that of LiteRT does not have TensorFlow's memory.
    small, large = (rows[n]["peak_memory_mib"] for n in ("LiteRT uint8", "TensorFlow signature"))
    assert 10 < small < large / 3


def test_what_is_missing_is_skipped_with_its_reason(result):
    reason = "No module named tf2onnx"
    assert result["skipped"] == {"onnxruntime float32": reason, "onnxruntime int8": reason}
    assert "- skipped: onnxruntime int8: No module named tf2onnx\n" in benchmark.markdown(result)


def test_the_targets_say_what_was_measured(result):
    size = result["targets"]["LiteRT uint8, bytes, at most"]
    assert size["measured"] < 105_000 and size["met"]
    (speed,) = (t for name, t in result["targets"].items() if "as fast as LiteRT float32" in name)
    assert speed["met"] == (speed["measured"] >= 2)


def test_the_files(result, tmp_path: Path):
    table, figures, plot = benchmark.write(result, tmp_path / "out")
    assert table.read_text().count("\n| LiteRT ") == 6
    assert json.loads(figures.read_text()) == result
    assert Image.open(plot).size[0] > 400
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("bench-edge.md", "bench-edge.json", "bench-edge.png")
    }


def test_speed_up_is_paired_by_round():
    # The second round runs on a machine that is ten times busier.
    own, other = ([np.full(9, t), np.full(9, t * 10)] for t in (2.0, 6.0))
    assert benchmark._speed_up(own, other) == 3


def test_a_converter_that_fails_gives_one_line(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(engines.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="tf2onnx ended with 1"):
        engines.convert_to_onnx(tmp_path / "a.tflite", tmp_path / "a.onnx")


def test_without_a_model(digits, tmp_path: Path):
    outcome = digits("bench-edge", "--root", tmp_path)
    assert outcome.code == 2
    assert outcome.err.endswith("no pushed model; run `digits run` first\n")
