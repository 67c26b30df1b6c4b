"""The networks."""

import keras
from keras import layers

from components.recipes import Recipe
from components.sources import CLASSES, HEIGHT, WIDTH

SEED_CNN_PARAMETERS = 93_322


def seed_cnn() -> keras.Sequential:
    """The classic convolutional network for 28x28 grey digits: 93,322 parameters.

    Returns:
        A model from float32 [n, 28, 28, 1] in 0..1 to float32 [n, 10]
        probabilities.
    """
    return keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 1), name="image"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ],
        name="seed_cnn",
    )


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


NETWORKS = {"seed_cnn": seed_cnn, "dense": dense}


def build_model(recipe: Recipe, steps_per_epoch: int = 1) -> keras.Model:
    """Builds and compiles the network of a recipe.

    Args:
        recipe: how to train.
        steps_per_epoch: of the training, which schedules count in.
    """
    model = NETWORKS[recipe.network]()
    rate: float | keras.optimizers.schedules.LearningRateSchedule = recipe.learning_rate
    if recipe.warmup_share is not None:
        steps = recipe.epochs * steps_per_epoch
        warmup = round(recipe.warmup_share * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    optimizer = keras.optimizers.get(recipe.optimizer)
    config = {**optimizer.get_config(), "learning_rate": rate}
    if recipe.ema_momentum is not None:
        config |= {"use_ema": True, "ema_momentum": recipe.ema_momentum}
    model.compile(
        optimizer=type(optimizer)(**config),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
