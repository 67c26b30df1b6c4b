"""The variants that a run pushes, and what becomes of one that fails."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfx.types import artifact, artifact_utils, standard_artifacts

from components.disturbances import CLEAN, DISTURBANCES, INVERTED
from components.edge_evaluator import EdgeEvaluator
from components.edge_exporter import EdgeModelArtifact
from components.gates import GateDecision
from components.model import build_model
from components.pushers import EdgePusher
from components.recipes import RECIPES
from components.splits import SPLITS
from export.edge_model import EdgeModel, float_compute_ops
from tests.conftest import PipelineRun

VARIANTS = ["float32", "dynamic", "float16", "int8", "uint8", "uint8_rgb"]

A = TypeVar("A", bound=artifact.Artifact)


@pytest.fixture(scope="module")
def bundle(pipeline_run: PipelineRun) -> Path:
    return pipeline_run.root / "edge" / pipeline_run.versions()["edge"][0]


@pytest.fixture(scope="module")
def description(bundle: Path) -> dict:
    return json.loads((bundle / "model.json").read_text())


def test_every_variant_is_pushed_and_described(pipeline_run, bundle, description):
    variants = {variant["name"]: variant for variant in description["variants"]}
    assert list(variants) == VARIANTS
    assert {p.name for p in (bundle / "models").iterdir()} == {f"{n}.tflite" for n in VARIANTS}
    for name, variant in variants.items():
        content = (bundle / variant["file"]).read_bytes()
        assert variant["bytes"] == len(content)
        assert variant["sha256"] == hashlib.sha256(content).hexdigest()
        model = EdgeModel(bundle / variant["file"])
        for key, tensor in (("input", model.input), ("output", model.output)):
            known = {k: v for k, v in variant[key].items() if k != "name"}
            assert known == json.loads(json.dumps(asdict(tensor)))
        assert variant["metrics"].items() <= pipeline_run.summary["edge"]["variants"][name].items()
        if "int8" in name:
            assert float_compute_ops(content) == []
            assert variant["input"]["scale"] == pytest.approx(1 / 255, rel=1e-6)


def test_the_top_level_describes_the_default(description):
    (default,) = (v for v in description["variants"] if v["name"] == "uint8")
    assert default["file"] == "models/uint8.tflite"
    shared = default.keys() & description.keys() - {"name", "golden"}
    assert shared == {"file", "bytes", "sha256", "input", "output", "metrics"}
    assert {key: default[key] for key in shared} == {key: description[key] for key in shared}


def test_the_metrics_are_those_of_the_pushed_files(pipeline_run, bundle, description, sample):
    images, labels = (array[9::10] for array in sample)  # every tenth of each class: the test split
    for variant in description["variants"]:
        hits = EdgeModel(bundle / variant["file"]).predict(images).argmax(1) == labels
        metrics = variant["metrics"]
        assert metrics["accuracy"] == hits.mean()
        assert metrics["recall"] == [hits[labels == digit].mean() for digit in range(10)]
    assert description["variants"][0]["metrics"]["disagreements"] == 0  # float32
    assert "refusals" not in json.dumps(description)


def test_the_stress_suite_is_reported(pipeline_run):
    stress = pipeline_run.summary["edge"]["stress"]
    assert stress["digits"] == 500
    figures = stress["disturbances"]
    assert list(figures) == list(DISTURBANCES)
    assert figures[CLEAN]["raw_accuracy"] == pipeline_run.summary["edge"]["accuracy"]
    assert figures[INVERTED]["raw_accuracy"] < 0.5
    assert figures[INVERTED]["preprocessed_accuracy"] == figures[CLEAN]["preprocessed_accuracy"]
    lowest = min(figures.values(), key=lambda f: f["preprocessed_accuracy"])
    assert f"{lowest['preprocessed_accuracy']:.2%}" in pipeline_run.outcome.out


@pytest.fixture
def gate(pipeline_run: PipelineRun, tmp_path: Path):
    """Evaluates and pushes the run's edge model after an edit, in a directory of its own."""

    def at(cls: type[A], path: Path) -> A:
        made = cls()
        made.uri = str(path)
        path.mkdir(exist_ok=True)
        return made

    def run(edit) -> tuple[dict, Path | None]:
        shutil.copytree(pipeline_run.artifact("TFLiteExporter", "edge_model"), tmp_path / "edge")
        edit(tmp_path / "edge")
        examples = at(standard_artifacts.Examples, pipeline_run.artifact("ExampleGen", "examples"))
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        edge_model = at(EdgeModelArtifact, tmp_path / "edge")
        evaluation = at(standard_artifacts.ModelEvaluation, tmp_path / "evaluation")
        blessing = at(GateDecision, tmp_path / "blessing")
        EdgeEvaluator.test_call(
            model=at(standard_artifacts.Model, pipeline_run.artifact("Trainer", "model")),
            edge_model=edge_model,
            examples=examples,
            evaluation=evaluation,
            blessing=blessing,
            min_accuracy=0.9,
            min_recall=0.7,
            max_disagreement=0.01,
        )
        decision = json.loads((tmp_path / "blessing" / "decision.json").read_text())
        if not decision["blessed"]:
            return decision, None
        EdgePusher.test_call(
            edge_model=edge_model,
            examples=examples,
            evaluation=evaluation,
            blessing=blessing,
            pushed_model=at(standard_artifacts.PushedModel, tmp_path / "pushed"),
            base_directory=str(tmp_path / "base"),
        )
        (version,) = (tmp_path / "base").iterdir()
        return decision, version

    return run


def untrained() -> bytes:
    keras.utils.set_random_seed(5)
    return tf.lite.TFLiteConverter.from_keras_model(build_model(RECIPES["dense"])).convert()


def test_a_variant_that_fails_is_left_out_and_the_decision_says_why(gate):
    decision, version = gate(
        lambda edge: (edge / "models" / "float16.tflite").write_bytes(untrained())
    )
    assert decision["blessed"]
    assert "float16 not pushed: accuracy 0." in decision["reason"]
    assert "labels differ from the served model's; at most 1.00% may" in decision["reason"]
    left = [name for name in VARIANTS if name != "float16"]
    assert {p.stem for p in (version / "models").iterdir()} == set(left)
    described = json.loads((version / "model.json").read_text())["variants"]
    assert [variant["name"] for variant in described] == left


def test_a_variant_that_answers_nan_is_left_out(gate):
    network = build_model(RECIPES["dense"])
    network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
    content = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    decision, version = gate(lambda edge: (edge / "models" / "dynamic.tflite").write_bytes(content))
    assert decision["blessed"]
    assert "gives some digits no probability at all" in decision["reason"]
    assert not (version / "models" / "dynamic.tflite").exists()


def test_the_default_failing_refuses(gate):
    decision, version = gate(
        lambda edge: (edge / "models" / "uint8.tflite").write_bytes(untrained())
    )
    assert version is None
    assert "computes in floating point: " in decision["reason"]
    assert "recall of digit" in decision["reason"]
