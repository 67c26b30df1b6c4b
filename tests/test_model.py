from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from components.calibration import calibrate
from components.model import SEED_CNN_PARAMETERS, build_model, trained_network
from components.recipes import RECIPES


def test_seed_network_is_the_texts_layer_by_layer():
    model = build_model(RECIPES["seed"])
    shapes = [(layer.__class__.__name__, layer.output.shape[1:]) for layer in model.layers]
    assert shapes == [
        ("Conv2D", (26, 26, 32)),
        ("MaxPooling2D", (13, 13, 32)),
        ("Conv2D", (11, 11, 64)),
        ("MaxPooling2D", (5, 5, 64)),
        ("Conv2D", (3, 3, 64)),
        ("Flatten", (576,)),
        ("Dense", (64,)),
        ("Dense", (10,)),
    ]
    parameters = [layer.count_params() for layer in model.layers if layer.count_params()]
    assert parameters == [320, 18_496, 36_928, 36_928, 650]
    assert model.count_params() == SEED_CNN_PARAMETERS == 93_322


def test_seed_recipe_is_the_texts():
    recipe = RECIPES["seed"]
    assert (recipe.optimizer, recipe.batch_size, recipe.epochs) == ("rmsprop", 64, 5)
    model = build_model(recipe)
    assert model.loss == "sparse_categorical_crossentropy"
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)


def test_outputs_are_probabilities():
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    outputs = build_model(RECIPES["seed"])(images).numpy()
    assert outputs.shape == (3, 10)
    np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-5)


def test_dense_network_is_the_texts():
    model = build_model(RECIPES["dense"])
    parameters = [layer.count_params() for layer in model.layers if layer.count_params()]
    assert parameters == [784 * 512 + 512, 512 * 10 + 10]
    assert RECIPES["dense"].batch_size == 128


def test_best_recipe_keeps_the_network_and_its_schedule_spans_the_training():
    recipe = RECIPES["best"]
    model = build_model(recipe, steps_per_epoch=430)
    assert trained_network(recipe, model).count_params() == SEED_CNN_PARAMETERS
    schedule = model.optimizer._learning_rate
    steps = recipe.epochs * 430
    rates = [float(schedule(step)) for step in (0, round(0.05 * steps), steps // 2, steps)]
    assert rates[0] == 0
    assert rates[1] == pytest.approx(recipe.learning_rate, rel=1e-3)
    assert 0 < rates[2] < rates[1]
    assert rates[3] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "parameters"), [("best", 93_322), ("best-25k", 24_822), ("best-10k", 9_750)]
)
def test_what_is_served_computes_what_was_trained(name, parameters):
    # In float32, so that nothing but the folding can differ.
    recipe = replace(RECIPES[name], precision="float32", epochs=2)
    rng = np.random.default_rng(0)
    images, labels = rng.random((256, 28, 28, 1), np.float32), rng.integers(0, 10, 256)
    model = build_model(recipe, steps_per_epoch=8)
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == parameters
    model.fit(images, labels, batch_size=32, epochs=2, verbose=0)
    network = trained_network(recipe, model)
    assert network.count_params() == parameters
    assert {layer.__class__.__name__ for layer in network.layers} == {
        *("Conv2D", "MaxPooling2D", "Flatten", "Dense")
    }
    np.testing.assert_allclose(network(images), model(images, training=False), atol=1e-5)


def test_training_in_bfloat16_keeps_float32_weights_and_answers():
    recipe = RECIPES["best"]
    assert recipe.precision == "mixed_bfloat16"
    model = build_model(recipe)
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    assert model.layers[0](images).dtype == "bfloat16"
    assert model(images).dtype == "float32"
    np.testing.assert_allclose(model(images), trained_network(recipe, model)(images), atol=0.02)
    with pytest.raises(ValueError, match="only for a normalized training"):
        replace(recipe, normalized=False)


def test_muon_takes_orthogonal_steps_on_hidden_matrices_only():
    model = build_model(replace(RECIPES["best"], warmup_share=None, precision="float32"))
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=v.shape).astype(np.float32) for v in model.trainable_variables]
    model.optimizer.apply(gradients, model.trainable_variables)
    for variable in model.trainable_variables:
        step = variable.numpy() - before[variable.path]
        matrix = step.reshape(-1, step.shape[-1])
        values = np.linalg.svd(matrix, compute_uv=False)
        hidden = step.ndim > 1 and "probabilities" not in variable.path and step.shape[-2] != 1
        if hidden:  # Newton and Schulz bring all singular values near to one another
            assert values.max() / values.min() < 2
        else:  # the first step of Adam has one size
            np.testing.assert_allclose(np.abs(step), np.abs(step).max(), rtol=1e-3)


def test_a_tuners_choices_change_these_fields_only():
    recipe = RECIPES["best"]
    tuned = recipe.tuned({"learning_rate": 1e-3, "batch_size": 32, "augmentation_strength": 0.5})
    assert (tuned.learning_rate, tuned.batch_size) == (1e-3, 32)
    assert tuned.augmentation.rotation == recipe.augmentation.rotation / 2
    assert tuned.augmentation.scale == pytest.approx((0.8**0.5, 1.15**0.5))
    unchanged = {"learning_rate": 5e-3, "batch_size": 128, "augmentation": recipe.augmentation}
    assert replace(tuned, **unchanged) == recipe
    assert recipe.tuned({}) == recipe
    assert RECIPES["seed"].tuned({"augmentation_strength": 2.0}) == RECIPES["seed"]


@pytest.mark.parametrize("name", ["seed", "best"])
def test_a_warm_start_takes_steps_that_rise_and_fall(name: str):
    recipe = RECIPES[name].warm()
    steps = recipe.epochs * 100
    optimizer = build_model(recipe, 100).optimizer
    sizes = []
    for step in range(steps + 1):
        optimizer.iterations.assign(step)
        sizes.append(float(optimizer.learning_rate))
    assert sizes[0] == 0.0
    assert max(sizes) == pytest.approx(recipe.learning_rate)
    assert sizes.index(max(sizes)) == pytest.approx(steps / 20)
    assert sizes[-1] == pytest.approx(0.0, abs=1e-9)


def test_smoothing_spreads_a_share_of_the_target():
    model = build_model(replace(RECIPES["seed"], label_smoothing=0.1))
    probabilities = np.full((1, 10), 0.05, np.float32)
    probabilities[0, 3] = 0.55
    expected = -(0.91 * np.log(0.55) + 9 * 0.01 * np.log(0.05))
    assert float(model.loss(np.array([3]), probabilities)[0]) == pytest.approx(expected, rel=1e-4)
    assert float(model.loss(np.array([[3]]), probabilities)[0]) == pytest.approx(expected, rel=1e-4)


def test_a_digit_that_looks_mislabelled_pulls_no_harder_the_more_it_does():
    model = build_model(replace(RECIPES["seed"], doubt_below=0.1))
    likelihoods = tf.Variable([0.9, 0.1, 0.05, 0.001])
    with tf.GradientTape() as tape:
        rest = (1 - likelihoods) / 9
        probabilities = tf.stack([likelihoods, *[rest] * 9], -1)
        losses = model.loss(tf.zeros(4, tf.int64), probabilities)
    expected = -np.log([0.9, 0.1, 0.05, 0.001]) * [1, 1, 0.5, 0.01]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    np.testing.assert_allclose(
        tape.gradient(losses, likelihoods), [-1 / 0.9, -10, -10, -10], rtol=1e-3
    )


def test_calibration_finds_the_temperature_that_was_taken_away():
    rng = np.random.default_rng(0)
    network = trained_network(RECIPES["seed"], build_model(RECIPES["seed"]))
    images = rng.random((2000, 28, 28, 1), np.float32)
    # Labels drawn from the network's own probabilities: it is calibrated.
    last = network.layers[-1]
    last.set_weights([weights * 8 for weights in last.get_weights()])
    probabilities = network.predict(images, verbose=0)
    labels = np.array([rng.choice(10, p=p / p.sum()) for p in probabilities.astype(float)])
    last.set_weights([weights / 3 for weights in last.get_weights()])
    before = network.predict(images, verbose=0).argmax(1)
    assert calibrate(network, images, labels) == pytest.approx(1 / 3, rel=0.15)
    after = network.predict(images, verbose=0)
    np.testing.assert_array_equal(after.argmax(1), before)
    np.testing.assert_allclose(after, probabilities, atol=0.05)
