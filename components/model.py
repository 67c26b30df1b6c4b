"""The networks."""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import layers

from components.muon import Muon
from components.normalization import fold, normalized_twin
from components.recipes import Recipe
from components.sources import CLASSES, HEIGHT, WIDTH

SEED_CNN_PARAMETERS = 93_322


def cnn(first: int, second: int, third: int, dense: int, *, name: str) -> keras.Sequential:
    """A small convolutional network for 28x28 grey digits.

    Args:
        first: filters of the first convolution.
        second: of the second.
        third: of the third.
        dense: units of the hidden dense layer.
        name: of the network.

    Returns:
        A model from float32 [n, 28, 28, 1] in 0..1 to float32 [n, 10]
        probabilities.
    """
    return keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 1), name="image"),
            layers.Conv2D(first, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(second, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(third, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(dense, activation="relu"),
            layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ],
        name=name,
    )


def seed_cnn() -> keras.Sequential:
    """The classic network of the text: 93,322 parameters."""
    return cnn(32, 64, 64, 64, name="seed_cnn")


def cnn_25k() -> keras.Sequential:
    """For microcontrollers: 24,822 parameters."""
    return cnn(16, 32, 32, 36, name="cnn_25k")


def cnn_10k() -> keras.Sequential:
    """For small microcontrollers: 9,750 parameters."""
    return cnn(12, 20, 20, 20, name="cnn_10k")


def dense() -> keras.Sequential:
    """The dense network that the text compares with: 407,050 parameters."""
    return keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 1), name="image"),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ],
        name="dense",
    )


NETWORKS = {"seed_cnn": seed_cnn, "cnn_25k": cnn_25k, "cnn_10k": cnn_10k, "dense": dense}


def build_model(recipe: Recipe, steps_per_epoch: int = 1) -> keras.Sequential:
    """Builds and compiles what a recipe trains.

    Args:
        recipe: how to train.
        steps_per_epoch: of the training, which schedules count in.
    """
    model = NETWORKS[recipe.network]()
    if recipe.normalized:
        model = normalized_twin(model, recipe.precision)
    model.compile(
        optimizer=_optimizer(recipe, steps_per_epoch),
        loss=_loss(recipe),
        metrics=["accuracy"],
    )
    return model


def trained_network(recipe: Recipe, model: keras.Sequential) -> keras.Sequential:
    """Returns the recipe's network, float32 and without an optimizer, with the weights of a model.

    Args:
        recipe: how the model was trained.
        model: what `build_model` returned, trained.
    """
    network = NETWORKS[recipe.network]()
    if recipe.normalized:
        fold(model, network)
    else:
        network.set_weights(model.get_weights())
    return network


def _loss(recipe: Recipe) -> str | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    if not (recipe.label_smoothing or recipe.doubt_below):
        return "sparse_categorical_crossentropy"

    def crossentropy(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        targets = tf.one_hot(tf.reshape(tf.cast(labels, tf.int32), [-1]), CLASSES)
        losses = keras.losses.categorical_crossentropy(
            targets, probabilities, label_smoothing=recipe.label_smoothing
        )
        if not recipe.doubt_below:
            return losses
        # Without smoothing, the gradient of partially Huberised cross-entropy (Menon et al., 2020).
        of_labels = tf.stop_gradient(tf.reduce_sum(targets * probabilities, -1))
        return losses * tf.minimum(of_labels / recipe.doubt_below, 1.0)

    return crossentropy


def _optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    rate: float | keras.optimizers.schedules.LearningRateSchedule = recipe.learning_rate
    if recipe.warmup_share is not None:
        steps = recipe.epochs * steps_per_epoch
        warmup = round(recipe.warmup_share * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    if recipe.optimizer == "muon":
        return Muon(
            learning_rate=rate,
            weight_decay=None,
            adam_weight_decay=None,
            exclude_layers=["probabilities"],
        )
    return keras.optimizers.get({"class_name": recipe.optimizer, "config": {"learning_rate": rate}})
