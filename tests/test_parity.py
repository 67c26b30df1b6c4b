"""The contract between engines, and `digits parity` over all that are here."""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest

from export import bundle, verify
from export.edge_model import MODEL_FILE
from pipeline import parity
from pipeline.engines import Engine, Same
from pipeline.parity import Row, compare
from serving.pictures import centre_digit


@pytest.fixture
def images(sample) -> np.ndarray:
    return sample[0][::25]  # 200


def brightest(digits: np.ndarray) -> np.ndarray:
    """A network: the share of the light in each of ten strips."""
    strips = digits.reshape(-1, 784)[:, :780].reshape(-1, 10, 78).astype(np.float64).sum(2) + 1
    return strips / strips.sum(1, keepdims=True)


def rounded(digits: np.ndarray) -> np.ndarray:
    return np.round(brightest(digits) * 256) / 256


def with_other_labels(
    network: Callable[[np.ndarray], np.ndarray], count: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Gives the first digits the reversed probabilities."""

    def run(digits: np.ndarray) -> np.ndarray:
        answers = network(digits)
        strange = brightest(digits)[:count].argsort(1).argsort(1).astype(float)
        answers[:count] = (9 - strange) / 45
        return answers

    return run


REFERENCE = Engine("reference", brightest)


def rows(images: np.ndarray, *engines: Engine) -> list[Row]:
    return list(compare([REFERENCE, *engines], images))


def test_what_agrees_holds(images):
    quantised = Engine("quantised", rounded, quantised=True, same=Same("reference", 0.003))
    _, same, close, quantised_row = rows(
        images,
        Engine("same", brightest, same=Same("reference", 0.0, differing=0.0)),
        Engine("close", lambda digits: brightest(digits) + 1e-7, same=Same("reference", 1e-6)),
        quantised,
    )
    assert (same.labels_equal, same.scores_equal, same.broken) == (200, 200, [])
    assert (close.scores_equal, close.broken) == (0, [])
    assert 0 < close.same_difference < 1e-6
    assert 0.001 < quantised_row.same_difference <= 0.003


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (
            Engine("float", with_other_labels(brightest, 1)),
            "1 labels differ, at most 0 may",
        ),
        (
            Engine("quantised", with_other_labels(brightest, 2), quantised=True),
            "2 labels differ, at most 1 may",
        ),
        (
            Engine("bytes", rounded, same=Same("reference", 0.1, differing=0.01)),
            r"\d+ scores are not those of reference, at most 2 may",
        ),
        (
            Engine("far", with_other_labels(brightest, 1), True, same=Same("reference", 0.1)),
            r"differs from reference by 0.\d+ > 0.1",
        ),
        (
            Engine("nothing", lambda digits: brightest(digits) * np.nan),
            "some probabilities are no numbers",
        ),
    ],
)
def test_what_does_not_agree_is_told(images, engine, reason):
    *_, row = rows(images, engine)
    assert any(re.match(reason, told) for told in row.broken), row.broken


def test_a_quantised_engine_may_differ_in_one_label_of_a_thousand(sample):
    for images, wrong, holds in ((sample[0][:2000], 2, True), (sample[0][:2000], 3, False)):
        engine = Engine("quantised", with_other_labels(brightest, wrong), quantised=True)
        *_, row = rows(images, engine)
        assert row.labels_equal == 2000 - wrong
        assert (not row.broken) == holds


def test_an_engine_that_takes_pictures_is_compared_on_centred_digits(images):
    shifted = np.roll(images, 3, axis=2)

    def network(digits: np.ndarray) -> np.ndarray:
        return brightest(np.stack([centre_digit(digit) for digit in digits]))

    (reference, centred) = rows(shifted, Engine("pictures", network, pictures=True))
    assert (centred.labels_equal, centred.difference) == (200, 0.0)
    assert reference.labels_equal == 200


def test_one_wrong_shape_stops_it(images):
    with pytest.raises(RuntimeError, match=r"short: \[199, 10\] answers to 200 digits"):
        rows(images, Engine("short", lambda digits: brightest(digits[1:])))


def test_all_engines_agree(digits, pipeline_run, monkeypatch):
    """The served and the edge model, by every way to run them that is here."""
    monkeypatch.setenv("COLUMNS", "200")
    outcome = digits("parity", "--root", pipeline_run.root, "--digits", 50)
    assert outcome.code == 0, outcome.out + outcome.err
    lines = [re.split(r" {2,}", line.strip()) for line in outcome.out.splitlines()]
    lines = [cells for cells in lines if cells[0].isdigit()]
    names = {number: name for number, name, *_ in lines}
    table = {name: cells for _, name, *cells in lines}
    version = pipeline_run.versions()["edge"][0]
    description = json.loads((pipeline_run.root / "edge" / version / "model.json").read_text())
    expected = {"Keras"}
    for signature in ("serving_default", "serve_examples", "serve_image_bytes"):
        expected.add(f"SavedModel, {signature}")
    for backend in ("tensorflow", "litert"):
        expected |= {f"server, {backend}, gRPC", f"server, {backend}, REST"}
    for variant in description["variants"]:
        expected |= {f"LiteRT {variant['name']}{k}" for k in ("", ", built-in kernels")}
    expected |= {f"TensorFlow Lite Micro {name}" for name in ("float32", "int8", "uint8")}
    assert expected <= set(table)
    assert outcome.out.endswith("the contract holds\n")
    micro = table["TensorFlow Lite Micro uint8"]
    assert names[micro[3]] == "LiteRT uint8, built-in kernels"
    assert int(micro[2]) >= 49
    for protocol in ("gRPC", "REST"):
        server = table[f"server, litert, {protocol}"]
        assert (names[server[3]], server[2]) == ("LiteRT uint8", "50")
    assert "not compared: TensorFlow Lite Micro dynamic:" in outcome.out


def test_a_broken_contract_is_exit_code_one(digits, pipeline_run, monkeypatch):
    wrong = Engine("wrong", with_other_labels(brightest, 3))
    monkeypatch.setattr(parity, "_present", lambda *_: iter([REFERENCE, wrong]))
    outcome = digits("parity", "--root", pipeline_run.root, "--digits", 20)
    assert outcome.code == 1
    assert "broken: wrong: 3 labels differ, at most 0 may" in outcome.out
    assert outcome.err == "digits: 1 breaches of the contract\n"


def test_variants_that_compute_with_integers_are_known(pipeline_run):
    version = pipeline_run.versions()["edge"][0]
    directory = pipeline_run.root / "edge" / version
    for name, quantised in (("float32", False), ("float16", False), ("dynamic", True)):
        content = (directory / "models" / f"{name}.tflite").read_bytes()
        assert bundle.is_quantised(content) == quantised
    assert bundle.is_quantised((directory / MODEL_FILE).read_bytes())
    assert verify.run((directory / MODEL_FILE).read_bytes(), np.zeros((1, 28, 28), np.uint8)).any()


def test_usage_errors(digits, tmp_path, pipeline_run):
    outcome = digits("parity", "--root", tmp_path)
    assert outcome.code == 2
    assert "no pushed model" in outcome.err
    outcome = digits("parity", "--root", pipeline_run.root, "--data", "nowhere")
    assert outcome.code == 2
    assert "--data nowhere" in outcome.err
