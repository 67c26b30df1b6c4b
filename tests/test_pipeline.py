"""End to end, on the sample: one run that every test below looks at or builds on."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.ingestion import encode
from components.servability import check_servable
from export.edge_model import MODEL_FILE, EdgeModel, float_compute_ops
from export.hashes import sha256_of_directory
from pipeline.local_runner import LocalRunner
from serving.pictures import encode_png
from tests.conftest import PipelineRun

REPOSITORY = Path(__file__).parent.parent


def states(out: str) -> dict[str, str]:
    """What became of each component, from what the user sees."""
    return dict(re.findall(r"^[✓=✗-] (\w+) +(ran|cached|skipped|failed)", out, re.MULTILINE))


@pytest.fixture(scope="module")
def saved_model(pipeline_run: PipelineRun) -> str:
    (version,) = pipeline_run.versions()["serving"][:1]
    return str(pipeline_run.root / "serving" / "digits" / version)


@pytest.fixture(scope="module")
def keras_model(pipeline_run: PipelineRun) -> keras.Model:
    return keras.saving.load_model(pipeline_run.artifact("Trainer", "model_run") / "model.keras")


@pytest.fixture(scope="module")
def session(saved_model: str):
    """The pushed model, loaded as TF Serving loads it: a function from signature and input."""
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], saved_model).signature_def

    def call(name: str, value):
        (source,) = signatures[name].inputs.values()
        fetches = {key: info.name for key, info in signatures[name].outputs.items()}
        return session.run(fetches, {source.name: value})

    yield call
    session.close()


class TestFirstRun:
    def test_both_models_are_pushed_under_one_version(self, pipeline_run):
        assert pipeline_run.outcome.code == 0, pipeline_run.outcome.err
        versions = pipeline_run.versions()
        assert versions["serving"] == versions["edge"]
        assert len(versions["serving"]) == 1

    def test_every_component_ran_and_was_shown(self, pipeline_run):
        shown = states(pipeline_run.outcome.out)
        assert set(shown.values()) == {"ran"}
        assert set(shown) == {c["name"] for c in pipeline_run.summary["components"]}
        assert all(c["peak_mib"] > 0 for c in pipeline_run.summary["components"])

    def test_no_library_noise_reaches_the_terminal(self, pipeline_run):
        assert pipeline_run.outcome.err == ""
        assert "WARNING" not in pipeline_run.outcome.out

    def test_nothing_is_left_among_temporary_files(self, pipeline_run):
        assert not list((pipeline_run.root.parent / "temporary").iterdir())

    def test_the_summary_agrees_with_itself(self, pipeline_run):
        summary = pipeline_run.summary
        model, edge = summary["model"], summary["edge"]
        matrix = np.array(model["confusion_matrix"])
        counts = summary["data"]["splits"]["test"]["by_label"]
        assert counts == [50] * 10 == matrix.sum(1).tolist()
        assert model["accuracy"] == matrix.trace() / matrix.sum() == edge["served_accuracy"]
        np.testing.assert_allclose(model["recall"], matrix.diagonal() / matrix.sum(1))
        np.testing.assert_allclose(model["precision"], matrix.diagonal() / matrix.sum(0))
        low, high = model["interval_95"]
        assert low < model["accuracy"] < high
        distances = [
            part["count"] * abs(part["accuracy"] - part["confidence"])
            for part in model["calibration"]
        ]
        error = model["expected_calibration_error"]
        assert error == pytest.approx(sum(distances) / 500)
        assert 0 < error < 0.1
        assert model["calibration"][-1]["upper"] == 1
        assert all(part["lower"] < part["upper"] for part in model["calibration"])
        assert sum(part["count"] for part in model["calibration"]) == 500
        assert edge["accuracy"] * 500 - model["accuracy"] * 500 == pytest.approx(
            edge["gained"] - edge["lost"]
        )
        assert f"{model['accuracy']:.2%}" in pipeline_run.outcome.out
        assert f"{edge['accuracy']:.2%}" in pipeline_run.outcome.out

    def test_it_learned(self, pipeline_run):
        assert pipeline_run.summary["model"]["accuracy"] > 0.94

    def test_every_gate_gives_its_reason(self, pipeline_run):
        gates = pipeline_run.summary["gates"]
        assert list(gates) == ["data", "model", "servability", "edge"]
        assert all(gate["blessed"] and gate["reason"] for gate in gates.values())


class TestServedModel:
    def test_every_signature_gives_kerass_labels(self, session, keras_model, sample):
        images, labels = sample
        expected = keras_model.predict(images[..., None] / 255.0, verbose=0)
        examples = [encode(*pair) for pair in zip(images, labels.tolist(), strict=True)]
        for name, value in (("serving_default", images), ("serve_examples", examples)):
            answer = session(name, value)
            np.testing.assert_array_equal(answer["label"], expected.argmax(1))
            np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)

    def test_pictures_are_recognised_whatever_their_form(self, session, sample):
        images, labels = (array[::10] for array in sample)
        plain = session("serving_default", images)["label"]
        for form in (
            lambda i: i,
            lambda i: 255 - i,
            lambda i: np.pad(i, ((0, 60), (90, 3))),
            lambda i: np.asarray(Image.fromarray(i).resize((140, 140))),
        ):
            answer = session("serve_image_bytes", [encode_png(form(image)) for image in images])
            assert (answer["label"] == labels).mean() > (plain == labels).mean() - 0.015

    def test_shapes_and_dtypes(self, session, sample):
        for count in (1, 7):
            answer = session("serving_default", sample[0][:count])
            assert answer["probabilities"].shape == (count, 10)
            assert answer["probabilities"].dtype == np.float32
            assert answer["label"].shape == (count,)
            assert answer["label"].dtype == np.int64

    def test_a_channel_axis_is_taken_and_any_other_shape_is_an_error(self, saved_model, sample):
        # TF Serving does not hold requests to the declared shape: forget it here too.
        images = sample[0][:3]
        with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], saved_model)
            signature = loaded.signature_def["serving_default"]
            source = graph.get_tensor_by_name(signature.inputs["images"].name)
            label = signature.outputs["label"].name
            source._shape_val = tf.TensorShape(None)
            expected = session.run(label, {source: images})
            np.testing.assert_array_equal(session.run(label, {source: images[..., None]}), expected)
            for shape in ((3, 28, 27), (3, 28, 28, 3), (28, 28), (3,)):
                with pytest.raises(tf.errors.InvalidArgumentError):
                    session.run(label, {source: np.zeros(shape, np.uint8)})

    def test_the_signature_table_is_the_truth(self, saved_model):
        signatures = tf.saved_model.load(saved_model).signatures
        inputs = {
            name: {
                k: (v.dtype.name, v.shape.as_list())
                for k, v in f.structured_input_signature[1].items()
            }
            for name, f in signatures.items()
        }
        assert inputs == {
            "serving_default": {"images": ("uint8", [None, 28, 28])},
            "serve_examples": {"examples": ("string", [None])},
            "serve_image_bytes": {"image_bytes": ("string", [None])},
        }
        for function in signatures.values():
            outputs = function.structured_outputs
            assert outputs["probabilities"].shape.as_list() == [None, 10]
            assert outputs["label"].dtype == tf.int64


class TestEdgeModel:
    @pytest.fixture(scope="class")
    def bundle(self, pipeline_run) -> Path:
        return pipeline_run.root / "edge" / pipeline_run.versions()["edge"][0]

    def test_the_description_is_true(self, pipeline_run, bundle, saved_model):
        description = json.loads((bundle / "model.json").read_text())
        content = (bundle / MODEL_FILE).read_bytes()
        assert description["version"] == int(bundle.name)
        assert description["sha256"] == hashlib.sha256(content).hexdigest()
        assert description["source_saved_model_sha256"] == sha256_of_directory(saved_model)
        assert description["bytes"] == len(content) < 110_000
        assert description["input"]["scale"] == pytest.approx(1 / 255)
        assert description["input"]["zero_point"] == 0
        assert description["metrics"]["accuracy"] == pipeline_run.summary["edge"]["accuracy"]
        assert (bundle / "labels.txt").read_text().split() == [str(digit) for digit in range(10)]

    def test_it_computes_in_integers_and_agrees_with_the_served_model(
        self, bundle, session, sample
    ):
        assert float_compute_ops((bundle / MODEL_FILE).read_bytes()) == []
        images = sample[0]
        edge = EdgeModel(bundle / MODEL_FILE).predict(images)
        served = session("serving_default", images)
        assert (edge.argmax(1) == served["label"]).mean() > 0.99
        assert np.abs(edge - served["probabilities"]).mean() < 0.005


class TestPredict:
    @pytest.mark.parametrize("options", [[], ["--edge"]])
    def test_it_names_the_digits_in_pictures(self, digits, pipeline_run, tmp_path, sample, options):
        files = []
        for label in range(10):
            image = sample[0][sample[1] == label][3]
            path = tmp_path / f"{label}.png"
            path.write_bytes(encode_png(255 - np.pad(image, 20)))
            files.append(path)
        outcome = digits("predict", "--root", pipeline_run.root, "--json", *options, *files)
        assert outcome.code == 0, outcome.err
        predictions = json.loads(outcome.out)
        assert [p["file"] for p in predictions] == [str(path) for path in files]
        assert sum(p["label"] == label for label, p in enumerate(predictions)) >= 9
        for prediction in predictions:
            assert prediction["probability"] == max(prediction["probabilities"])

    def test_the_table_names_each_file(self, digits, pipeline_run, tmp_path, sample):
        path = tmp_path / "seven.png"
        path.write_bytes(encode_png(sample[0][sample[1] == 7][0]))
        outcome = digits("predict", "--root", pipeline_run.root, path)
        assert re.search(r"/seven\.png +7 +\d+\.\d%\n", outcome.out)


def test_running_again_uses_the_cache_and_pushes_no_duplicate(digits, pipeline_run):
    before = pipeline_run.versions()
    again = digits("run", "--root", pipeline_run.root)
    assert again.code == 0, again.err
    shown = states(again.out)
    # The first run had no baseline, the second has: so the Evaluator runs, and what follows.
    assert {name for name, state in shown.items() if state == "cached"} >= {
        "ExampleGen",
        "StatisticsGen",
        "Transform",
        "Trainer",
        "ServabilityCheck",
    }
    third = digits("run", "--root", pipeline_run.root)
    assert third.code == 0, third.err
    assert {n for n, s in states(third.out).items() if s != "cached"} == {"LatestBlessedModel"}
    assert pipeline_run.versions() == before


def test_tighter_bounds_refuse_and_leave_the_old_version(digits, pipeline_run):
    before = pipeline_run.versions()
    bounds = ("--min-accuracy", 0.999, "--max-calibration-error", 0.001)
    outcome = digits("run", "--root", pipeline_run.root, *bounds)
    assert outcome.code == 1
    assert outcome.err == "digits: the model gate refused; nothing was pushed\n"
    reasons = pipeline_run.summary["gates"]["model"]["reason"].split("; ")
    assert [re.sub(r"0\.\d+ is", "X is", reason) for reason in reasons] == [
        "accuracy X is below 0.999",
        "expected calibration error X is above 0.001",
    ]
    assert "REFUSED: accuracy" in outcome.out
    assert states(outcome.out)["TFLiteExporter"] == "skipped"
    assert pipeline_run.summary["pushed"] is None
    report = max((pipeline_run.root / "report").iterdir())
    assert "Refused by the model gate" in (report / "report.html").read_text()
    facts = json.loads((report / "facts.json").read_text())
    baseline = facts["model"]["baseline"]
    assert baseline["same"]
    assert baseline["accuracy"] == facts["model"]["accuracy"]
    assert baseline["version"] in before["edge"]
    assert pipeline_run.versions() == before


def test_a_really_worse_model_is_refused_against_the_latest_blessed(digits, pipeline_run):
    before = pipeline_run.versions()
    outcome = digits(
        "run", "--root", pipeline_run.root, "--epochs", 1, "--min-accuracy", 0.5, "--min-recall", 0
    )
    assert outcome.code == 1
    reason = pipeline_run.summary["gates"]["model"]["reason"]
    assert re.fullmatch(
        r"accuracy fell by \d+\.\d+ standard deviations of sampling noise against the latest "
        r"blessed model; at most 1\.645 may be chance",
        reason,
    )
    assert pipeline_run.versions() == before


def test_ctrl_c_leaves_the_served_version_and_a_usable_store(digits, pipeline_run):
    before = pipeline_run.versions()
    process = subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "pipeline.cli", "run"),
            *("--root", str(pipeline_run.root), "--seed", "99", "--epochs", "50"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "epoch 1/" in line:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "digits: interrupted\n"
    assert pipeline_run.versions() == before
    again = digits("run", "--root", pipeline_run.root)
    assert again.code == 0, again.err
    assert states(again.out)["Trainer"] == "cached"
    assert pipeline_run.versions() == before


def test_ctrl_c_that_beam_wraps_is_still_ctrl_c(digits, tmp_path, monkeypatch):
    def run(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except Exception as error:
            raise RuntimeError("Unable to translate") from error

    monkeypatch.setattr(LocalRunner, "run", run)
    outcome = digits("run", "--root", tmp_path)
    assert (outcome.code, outcome.err) == (130, "digits: interrupted\n")


def test_what_is_no_metadata_store_is_named_and_left(digits, tmp_path):
    store = tmp_path / "metadata.sqlite"
    store.write_bytes(b"no database" * 100)
    outcome = digits("run", "--root", tmp_path)
    assert outcome.code == 2
    assert outcome.err.startswith(f"digits: {store}: not a store of TFX's metadata")
    assert store.read_bytes() == b"no database" * 100


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_damaged_saved_model_is_named(digits, pipeline_run, tmp_path, file):
    version = pipeline_run.versions()["serving"][-1]
    served = tmp_path / "serving" / "digits" / version
    shutil.copytree(pipeline_run.root / "serving" / "digits" / version, served)
    os.truncate(served / file, 0)
    picture = tmp_path / "digit.png"
    picture.write_bytes(encode_png(np.eye(28, dtype=np.uint8) * 255))
    outcome = digits("predict", "--root", tmp_path, picture)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"digits: {served}: no whole SavedModel that `digits run` pushed\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "run_again"),
    [
        (
            "components/edge_exporter.py",
            "REPRESENTATIVE_DIGITS = 500",
            "REPRESENTATIVE_DIGITS = 50",
            ["TFLiteExporter", "EdgeEvaluator", "EdgePusher", "Pusher"],
        ),
        (
            "components/preprocessing.py",
            "/ 255.0",
            "* (1 / 255.0)",
            [
                *("DataGate", "Transform", "Trainer", "Evaluator", "ServabilityCheck"),
                *("TFLiteExporter", "EdgeEvaluator", "EdgePusher", "Pusher"),
            ],
        ),
    ],
)
def test_an_edited_module_runs_again_with_what_follows(
    pipeline_run, tmp_path, file, old, new, run_again
):
    before = pipeline_run.versions()
    for package in ("pipeline", "components", "serving", "export"):
        shutil.copytree(REPOSITORY / package, tmp_path / package)
    source = (tmp_path / file).read_text()
    assert source.count(old) == 1
    (tmp_path / file).write_text(source.replace(old, new))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "run", "--root", str(pipeline_run.root)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shown = states(done.stdout)
    ran = {name for name, state in shown.items() if state == "ran"}
    assert ran == {"LatestBlessedModel", *run_again}
    assert all(state in ("ran", "cached") for state in shown.values())
    versions = pipeline_run.versions()
    assert versions["serving"] == versions["edge"]
    assert len(versions["serving"]) == len(before["serving"]) + 1


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (
            lambda images, labels: (images, np.where(labels == 9, 4, labels)),
            "train split, label: Low number of unique values",
        ),
        (
            lambda images, labels: (255 - images, labels),
            "test split, image: 87% bright on average; digits are white on black, so invert",
        ),
    ],
)
def test_poisoned_data_stops_at_the_data_gate(digits, tmp_path, sample, poison, reason):
    images, labels = poison(*sample)
    path = tmp_path / "poisoned.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images[::10], y_test=labels[::10])
    root = tmp_path / "run"
    outcome = digits("run", "--data", path, "--root", root)
    assert outcome.code == 1
    assert outcome.err == "digits: the data gate refused; nothing was pushed\n"
    summary = json.loads((root / "summary.json").read_text())
    assert reason in summary["gates"]["data"]["reason"]
    for anomaly in summary["data"]["splits"]["train"]["anomalies"]:
        assert anomaly in summary["gates"]["data"]["reason"]
    (report,) = (root / "report").glob("*/report.html")
    assert "Refused by the data gate" in report.read_text()
    assert states(outcome.out)["Transform"] == "skipped"
    assert not (root / "serving").exists()
    assert not (root / "edge").exists()


def test_a_bad_quantised_model_is_refused(digits, tmp_path, monkeypatch):
    from components import edge_exporter

    convert = edge_exporter.convert
    # Calibrated on black pictures, the ranges of all activations are far too small.
    monkeypatch.setattr(edge_exporter, "convert", lambda model, data: convert(model, data * 0.02))
    root = tmp_path / "run"
    outcome = digits("run", "--root", root)
    assert outcome.code == 1
    assert outcome.err == "digits: the edge gate refused; nothing was pushed\n"
    reason = json.loads((root / "summary.json").read_text())["gates"]["edge"]["reason"]
    assert "labels differ from the served model's; at most 1.00% may" in reason
    assert not (root / "serving").exists()
    assert not (root / "edge").exists()


def test_a_saved_model_that_only_python_can_load_is_refused(digits, tmp_path, monkeypatch):
    from components import signatures

    def export_like_the_tutorials(model, transform, directory, metadata):
        """As `export_served_model`, but by `tf.saved_model.save`."""
        layer = transform.transform_features_layer()
        spec = transform.raw_feature_spec()
        module = tf.Module()
        module.model, module.layer = model, layer

        def answer(raw):
            probabilities = model(layer({"image": raw})["image"])
            return {"probabilities": probabilities, "label": tf.argmax(probabilities, -1)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def serve_examples(examples):
            return answer(tf.io.parse_example(examples, {"image": spec["image"]})["image"])

        tf.saved_model.save(module, directory, signatures={"serve_examples": serve_examples})
        path = Path(directory, "assets.extra")
        path.mkdir()
        (path / "model.json").write_text(json.dumps(metadata))

    monkeypatch.setattr(signatures, "export_served_model", export_like_the_tutorials)
    root = tmp_path / "run"
    outcome = digits("run", "--root", root)
    assert outcome.code == 1
    assert outcome.err == "digits: the servability gate refused; nothing was pushed\n"
    gates = json.loads((root / "summary.json").read_text())["gates"]
    assert gates["model"]["blessed"]
    assert "serve_examples: FailedPreconditionError" in gates["servability"]["reason"]
    assert "serving_default: no such signature" in gates["servability"]["reason"]
    assert not (root / "serving").exists()


def test_servability_finds_other_weights_and_damage(pipeline_run, saved_model, tmp_path):
    with np.load(pipeline_run.artifact("Trainer", "model_run") / "golden.npz") as arrays:
        golden = dict(arrays)
    assert golden["images"].shape == (256, 28, 28)
    other = {**golden, "probabilities": np.roll(golden["probabilities"], 1, axis=1)}
    found = check_servable(saved_model, other)
    assert any("serving_default: probabilities differ" in fault for fault in found)
    assert any("serve_examples" in fault and "labels differ" in fault for fault in found)
    damaged = tmp_path / "damaged"
    shutil.copytree(saved_model, damaged)
    (damaged / "saved_model.pb").write_bytes(b"\x08")
    (fault,) = check_servable(str(damaged), golden)
    assert fault.startswith("the SavedModel does not load")


def test_no_cache_runs_all_again_and_one_seed_gives_the_same_metrics(digits, pipeline_run):
    before = pipeline_run.versions()
    outcome = digits("run", "--root", pipeline_run.root, "--no-cache")
    assert outcome.code == 0, outcome.err
    assert set(states(outcome.out).values()) == {"ran"}
    first = pipeline_run.artifact("Trainer", "model_run")
    history = json.loads((first / "history.json").read_text())["history"]
    assert pipeline_run.summary["model"]["history"] == history
    accuracy = next(line for line in outcome.out.splitlines() if line.startswith("test accuracy"))
    assert accuracy in pipeline_run.outcome.out
    assert set(pipeline_run.versions()["serving"]) > set(before["serving"])
