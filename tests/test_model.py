import numpy as np
import pytest

from components.model import SEED_CNN_PARAMETERS, build_model
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
    assert model.count_params() == SEED_CNN_PARAMETERS
    assert model.optimizer.use_ema
    schedule = model.optimizer._learning_rate
    steps = recipe.epochs * 430
    rates = [float(schedule(step)) for step in (0, round(0.05 * steps), steps // 2, steps)]
    assert rates[0] == 0
    assert rates[1] == pytest.approx(recipe.learning_rate, rel=1e-3)
    assert 0 < rates[2] < rates[1]
    assert rates[3] == pytest.approx(0, abs=1e-6)
