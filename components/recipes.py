"""Recipes: how a network is trained, as data."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from serving.errors import InputError

#: Of the steps; where a recipe has a constant step size otherwise.
WARM_START_WARMUP = 0.05


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
        thickness_share: share of images whose strokes become thicker or thinner.
        thickness: how far at most, as a part of the way to the maximum or minimum of each 3x3
            neighbourhood.
        contrast: lowest and highest factor, about a grey in the middle; above 1 it sharpens what
            interpolation blurred, and moves the edges of strokes.
        noise_share: share of images with Gaussian noise.
        noise_sd: its highest standard deviation, of pixels from 0 to 255.
        unchanged_share: share of images that stay as they are; interpolation blurs the others.
    """

    rotation: float
    scale: tuple[float, float]
    shear: float
    shift: float
    small_share: float = 0.0
    small_scale: tuple[float, float] = (0.5, 1.0)
    thickness_share: float = 0.0
    thickness: float = 0.0
    contrast: tuple[float, float] = (1.0, 1.0)
    noise_share: float = 0.0
    noise_sd: float = 0.0
    unchanged_share: float = 0.0

    def __post_init__(self) -> None:
        if self.unchanged_share + max(self.thickness_share, self.noise_share) > 1:
            raise ValueError("no image can both stay as it is and change")

    def scaled(self, strength: float) -> "Augmentation":
        """Returns ranges that are wider or narrower by a factor; the shares stay."""
        return replace(
            self,
            rotation=self.rotation * strength,
            scale=_powers(self.scale, strength),
            shear=self.shear * strength,
            shift=self.shift * strength,
            thickness=min(1.0, self.thickness * strength),
            contrast=_powers(self.contrast, strength),
            noise_sd=self.noise_sd * strength,
        )


def _powers(factors: tuple[float, float], strength: float) -> tuple[float, float]:
    low, high = factors
    return low**strength, high**strength


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
        warm_epochs: passes, where the training starts from the weights of an earlier model.
        warmup_share: share of the steps in which the step size rises from zero, before it falls
            to zero along a cosine; None for a constant one.
        augmentation: random changes to the images of every batch; None for none.
        label_smoothing: share of the target that is spread over all ten digits.
        doubt_below: probability of its label below which a digit weighs the less, the less
            probable that is: its label may be wrong. 0 for never.
        normalized: train with batch normalization, which is folded into the weights at the end.
        precision: Keras's dtype policy of the training; what is served is float32.
    """

    name: str
    network: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    warm_epochs: int
    warmup_share: float | None = None
    augmentation: Augmentation | None = None
    label_smoothing: float = 0.0
    doubt_below: float = 0.0
    normalized: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision != "float32" and not self.normalized:
            raise ValueError(f"precision {self.precision}: only for a normalized training")

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Returns the recipe that `to_dict` described."""
        augmentation = values["augmentation"] and Augmentation(**values["augmentation"])
        return cls(**{**values, "augmentation": augmentation})

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """Returns the recipe of a name in `RECIPES`, or of `to_dict`'s values as JSON.

        `to_text` undoes it.

        Raises:
            InputError: it is neither.
        """
        if text in RECIPES:
            return RECIPES[text]
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"recipe {text!r}: expected one of {', '.join(RECIPES)}, or a recipe as JSON"
            ) from error

    def to_text(self) -> str:
        """Returns the recipe's name, where that says all, else its values as JSON."""
        return self.name if RECIPES.get(self.name) == self else json.dumps(self.to_dict())

    def tuned(self, choices: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe with what a tuner chose.

        Args:
            choices: values of fields, and `augmentation_strength`, a factor.
        """
        fields = dict(choices)
        strength = fields.pop("augmentation_strength", None)
        if strength is not None and self.augmentation:
            fields["augmentation"] = self.augmentation.scaled(strength)
        return replace(self, **fields)

    def with_epochs(self, epochs: int | None) -> "Recipe":
        """Returns the recipe with another number of epochs, where one is given."""
        return self if epochs is None else replace(self, epochs=epochs, warm_epochs=epochs)

    def warm(self) -> "Recipe":
        """Returns the recipe of a training that starts from the weights of an earlier model.

        Its step size rises from zero and falls to zero, whatever the recipe's own does: a new
        optimizer's first steps are its least certain, and a constant size forgets at every step.
        """
        share = WARM_START_WARMUP if self.warmup_share is None else self.warmup_share
        return replace(self, epochs=self.warm_epochs, warmup_share=share)


# The recipe of the text that the network comes from: Keras's defaults for rmsprop.
_SEED = Recipe(
    name="seed",
    network="seed_cnn",
    optimizer="rmsprop",
    learning_rate=1e-3,
    batch_size=64,
    epochs=5,
    warm_epochs=2,
)

_BEST = Recipe(
    name="best",
    network="seed_cnn",
    optimizer="muon",
    learning_rate=5e-3,
    batch_size=128,
    epochs=70,
    warm_epochs=20,
    warmup_share=0.05,
    label_smoothing=0.05,
    doubt_below=0.1,
    normalized=True,
    precision="mixed_bfloat16",
    augmentation=Augmentation(
        rotation=15,
        scale=(0.8, 1.15),
        shear=0.2,
        shift=3.5,
        small_share=0.1,
        small_scale=(0.45, 0.8),
        thickness_share=0.3,
        thickness=0.5,
        contrast=(0.5, 2),
        noise_share=0.15,
        noise_sd=50,
        unchanged_share=0.2,
    ),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _SEED,
        # The dense network that the text compares with.
        replace(_SEED, name="dense", network="dense", batch_size=128),
        _BEST,
        replace(_BEST, name="best-25k", network="cnn_25k"),
        replace(_BEST, name="best-10k", network="cnn_10k"),
    )
}
