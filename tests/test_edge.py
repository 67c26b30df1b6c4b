from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.edge_evaluator import check_integers
from components.model import build_model, trained_network
from components.recipes import RECIPES
from export.edge_model import EdgeModel, Tensor, float_compute_ops
from export.rgb import rgb_twin
from export.tflite import convert
from serving.errors import InputError


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(3)
    return build_model(RECIPES["seed"])


@pytest.fixture(scope="module")
def variants(network, sample) -> dict[str, bytes]:
    return convert(network, sample[0][::50, :, :, None].astype(np.float32) / 255)


@pytest.fixture(scope="module")
def models(variants, tmp_path_factory: pytest.TempPathFactory) -> dict[str, EdgeModel]:
    directory = tmp_path_factory.mktemp("models")
    for name, content in variants.items():
        (directory / name).write_bytes(content)
    return {name: EdgeModel(directory / name) for name in variants}


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "scale", "zero_point"),
    [
        ("float32", (1, 28, 28, 1), "float32", 1, 0),
        ("float16", (1, 28, 28, 1), "float32", 1, 0),
        ("dynamic", (1, 28, 28, 1), "float32", 1, 0),
        ("int8", (1, 28, 28, 1), "int8", 1 / 255, -128),
        ("uint8", (1, 28, 28, 1), "uint8", 1 / 255, 0),  # a byte is the quantised pixel
        ("uint8_rgb", (1, 28, 28, 3), "uint8", 1 / 255, 0),
    ],
)
def test_the_tensors_of_each_variant(models, name, shape, dtype, scale, zero_point):
    model = models[name]
    assert model.input == Tensor(shape, dtype, pytest.approx(scale, rel=1e-6), zero_point)
    assert (model.output.shape, model.output.dtype) == ((1, 10), dtype)


def test_the_table_names_every_variant(variants):
    assert set(variants) == {"float32", "float16", "dynamic", "int8", "uint8", "uint8_rgb"}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        *(("float32", 1e-6), ("float16", 1e-3), ("dynamic", 0.02)),
        *(("int8", 0.05), ("uint8", 0.05), ("uint8_rgb", 0.05)),
    ],
)
def test_the_probabilities_of_each_variant_are_near_the_networks(
    models, network, sample, name, tolerance
):
    images = sample[0][25::50]
    expected = network.predict(images[..., None] / 255.0, verbose=0)
    assert np.abs(models[name].predict(images) - expected).max() < tolerance


def test_integer_variants_answer_alike(models, sample):
    """The same weights and ranges: only the way in and out differs."""
    images = sample[0][25::50]
    np.testing.assert_array_equal(models["int8"].predict(images), models["uint8"].predict(images))
    difference = models["uint8_rgb"].predict(images) - models["uint8"].predict(images)
    assert np.abs(difference).max() <= 1 / 256


@pytest.mark.parametrize("recipe", ["best-10k", "dense"])
def test_any_network_has_a_twin_for_colour(recipe, sample):
    network = build_model(RECIPES[recipe])
    network = trained_network(RECIPES[recipe], network)
    grey = sample[0][::500, :, :, None].astype(np.float32) / 255
    np.testing.assert_allclose(
        rgb_twin(network)(np.repeat(grey, 3, axis=-1)), network(grey), atol=1e-6
    )


def test_a_batch_is_filled_up(network, sample, tmp_path: Path):
    batched = keras.Sequential([keras.Input(batch_shape=(4, 28, 28, 1)), *network.layers])
    path = tmp_path / "batched.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(batched).convert())
    images = sample[0][::555]
    assert len(images) % 4
    expected = network.predict(images[..., None] / 255.0, verbose=0)
    model = EdgeModel(path)
    assert model.input.shape == (4, 28, 28, 1)
    np.testing.assert_allclose(model.predict(images), expected, atol=1e-6)


def test_float_ops_are_found(variants):
    for name in ("int8", "uint8", "uint8_rgb"):
        assert float_compute_ops(variants[name]) == []
    for name in ("float32", "float16", "dynamic"):
        assert float_compute_ops(variants[name]).count("CONV_2D") == 3


def test_integer_variants_must_take_bytes_for_pixels_and_compute_in_integers(variants, models):
    source = {"dtype": "uint8", "scale": 1 / 255, "zero_point": 0}
    assert check_integers({"input": source}, variants["uint8"]) == []
    int8 = {"dtype": "int8", "scale": 1 / 255, "zero_point": -128}
    assert check_integers({"input": int8}, variants["int8"]) == []
    (fault,) = check_integers({"input": source}, variants["dynamic"])
    assert fault.startswith("computes in floating point: ")
    for wrong in ({"scale": 1 / 256}, {"zero_point": 1}):
        (fault,) = check_integers({"input": {**source, **wrong}}, variants["uint8"])
        assert fault.endswith("expected 1/255 and 0")


@pytest.mark.parametrize(
    "images", [np.zeros((1, 28, 28), np.float32), np.zeros((1, 14, 28), np.uint8)]
)
def test_wrong_images_are_refused(models, images):
    with pytest.raises(InputError, match=r"expected uint8 \[n, 28, 28\]"):
        models["uint8"].predict(images)


@pytest.mark.parametrize("content", [b"", b"not a flatbuffer" * 9])
def test_damaged_files_are_refused(tmp_path: Path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a TFLite model"):
        EdgeModel(path)


def test_truncated_models_are_refused(tmp_path: Path, variants):
    path = tmp_path / "model.tflite"
    path.write_bytes(variants["uint8"][:50_000])
    with pytest.raises(InputError, match="not a TFLite model"):
        EdgeModel(path)


def test_other_models_are_refused(tmp_path: Path):
    path = tmp_path / "model.tflite"
    for shape, fault in (((28, 28, 2), r"float32 \[1, 28, 28, 2\]"), ((28, 28, 1), r"\[1, 7\]")):
        network = keras.Sequential(
            [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(7)]
        )
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
        with pytest.raises(InputError, match=fault):
            EdgeModel(path)
