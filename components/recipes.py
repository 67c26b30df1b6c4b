"""Recipes: how a network is trained, as data."""

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What determines a training run, besides its data and its seed.

    Attributes:
        name: how the command line names it.
        network: key of `components.model.NETWORKS`.
        optimizer: Keras's name of the optimizer.
        learning_rate: its step size.
        batch_size: images a step.
        epochs: passes over the train split.
    """

    name: str
    network: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as JSON values."""
        return asdict(self)

    def with_epochs(self, epochs: int | None) -> "Recipe":
        """Returns the recipe with another number of epochs, where one is given."""
        return self if epochs is None else replace(self, epochs=epochs)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        # The recipe of the text that the network comes from: Keras's defaults for rmsprop.
        Recipe(
            name="seed",
            network="seed_cnn",
            optimizer="rmsprop",
            learning_rate=1e-3,
            batch_size=64,
            epochs=5,
        ),
    )
}
