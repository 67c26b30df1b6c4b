"""Tuner: searches the best step size, batch size and augmentation for the data at hand."""

import dataclasses
from typing import Any

import keras
import keras_tuner
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.v1.components import TunerFnResult

from components.model import build_model
from components.recipes import Recipe
from components.training import Training, fit
from components.training_data import read_examples


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Returns a Bayesian search for the lowest loss on the validation split.

    Args:
        fn_args: `custom_config` holds `recipe` (`Recipe.to_dict()`, with the epochs of a trial),
            `seed` and `trials`.
    """
    config = fn_args.custom_config
    recipe, seed = Recipe.from_dict(config["recipe"]), config["seed"]
    keras.utils.set_random_seed(seed)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    training = Training(
        recipe=recipe,
        seed=seed,
        transform=transform,
        train=read_examples(fn_args, fn_args.train_files, transform),
        validation=read_examples(fn_args, fn_args.eval_files, transform),
    )
    tuner = _Search(
        training,
        max_trials=config["trials"],
        max_consecutive_failed_trials=1,  # else a search whose every trial fails succeeds
        seed=seed,
        directory=fn_args.working_dir,
        project_name="trials",
        overwrite=True,
    )
    return TunerFnResult(tuner=tuner, fit_kwargs={})


def search_space(choices: keras_tuner.HyperParameters, recipe: Recipe) -> Recipe:
    """Returns a recipe with a tuner's choices, around those of another recipe.

    Args:
        choices: where the search registers its ranges and gets its values from.
        recipe: the middle of the search; what is not searched is kept.
    """
    rate, batch = recipe.learning_rate, recipe.batch_size
    choices.Float("learning_rate", rate / 4, rate * 4, sampling="log", default=rate)
    choices.Choice("batch_size", [batch // 2, batch, batch * 2], default=batch)
    if recipe.augmentation:
        choices.Float("augmentation_strength", 0.25, 1.5, default=1.0)
    return recipe.tuned(choices.values)


class _Search(keras_tuner.BayesianOptimization):
    """Trains once a trial; KerasTuner's own trial needs TensorBoard."""

    def __init__(self, training: Training, **options: Any):
        super().__init__(**options)
        self._training = training

    def run_trial(self, trial: keras_tuner.engine.trial.Trial) -> float:
        """Returns the lowest loss on the validation split."""
        recipe = search_space(trial.hyperparameters, self._training.recipe)
        training = dataclasses.replace(self._training, recipe=recipe)
        history = fit(build_model(recipe, training.steps_per_epoch()), training)
        return min(history["val_loss"])
