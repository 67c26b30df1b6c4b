"""Recipes: how a network is trained, as data."""

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges from which each image draws its own change, uniformly.

    Attributes:
        rotation: degrees, to either side.
        scale: lowest and highest factor.
        shear: to either side.
        shift: pixels, to either side and up and down.
        small_share: share of images that draw their scale from `small_scale` instead.
        small_scale: lowest and highest factor of those.
        noise_share: share of images with Gaussian noise.
        noise_sd: its highest standard deviation, of pixels from 0 to 255.
    """

    rotation: float
    scale: tuple[float, float]
    shear: float
    shift: float
    small_share: float = 0.0
    small_scale: tuple[float, float] = (0.5, 1.0)
    noise_share: float = 0.0
    noise_sd: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What determines a training run, besides its data and its seed.

    Attributes:
        name: how the command line names it.
        network: key of `components.model.NETWORKS`.
        optimizer: Keras's name of the optimizer.
        learning_rate: its step size; with `warmup_share`, the highest.
        batch_size: images a step.
        epochs: passes over the train split.
        warmup_share: share of the steps in which the step size rises from zero, before it falls
            to zero along a cosine; None for a constant one.
        ema_momentum: of the moving average of the weights, which is what is kept; None for none.
        augmentation: random changes to the images of every batch; None for none.
    """

    name: str
    network: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    warmup_share: float | None = None
    ema_momentum: float | None = None
    augmentation: Augmentation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Returns the recipe that `to_dict` described."""
        augmentation = values["augmentation"] and Augmentation(**values["augmentation"])
        return cls(**{**values, "augmentation": augmentation})

    def with_epochs(self, epochs: int | None) -> "Recipe":
        """Returns the recipe with another number of epochs, where one is given."""
        return self if epochs is None else replace(self, epochs=epochs)


# The recipe of the text that the network comes from: Keras's defaults for rmsprop.
_SEED = Recipe(
    name="seed",
    network="seed_cnn",
    optimizer="rmsprop",
    learning_rate=1e-3,
    batch_size=64,
    epochs=5,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _SEED,
        # The dense network that the text compares with.
        replace(_SEED, name="dense", network="dense", batch_size=128),
        Recipe(
            name="best",
            network="seed_cnn",
            optimizer="adam",
            learning_rate=2e-3,
            batch_size=128,
            epochs=125,
            warmup_share=0.05,
            ema_momentum=0.9995,
            augmentation=Augmentation(
                rotation=15,
                scale=(0.8, 1.15),
                shear=0.2,
                shift=3.5,
                small_share=0.1,
                small_scale=(0.45, 0.8),
                noise_share=0.15,
                noise_sd=50,
            ),
        ),
    )
}
