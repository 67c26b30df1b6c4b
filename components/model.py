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


NETWORKS = {"seed_cnn": seed_cnn}


def build_model(recipe: Recipe) -> keras.Model:
    """Builds and compiles the network of a recipe."""
    model = NETWORKS[recipe.network]()
    model.compile(
        optimizer=keras.optimizers.get(
            {
                "class_name": recipe.optimizer,
                "config": {"learning_rate": recipe.learning_rate},
            }
        ),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
