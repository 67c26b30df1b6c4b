"""Trainer: fits a recipe's network and exports it."""

import contextlib
import json
import os
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from components.calibration import calibrate
from components.cluster import (
    fit_on_cluster,
    is_chief,
    strategy_from_environment,
    wait_for_all,
)
from components.model import build_model, trained_network
from components.preprocessing import IMAGE
from components.recipes import Recipe
from components.signatures import METADATA_FILE, export_served_model
from components.sources import HEIGHT, WIDTH
from components.training import Training, fit, progress
from components.training_data import read_examples, to_batches
from serving.pictures import centre_digit

KERAS_FILE = "model.keras"
HISTORY_FILE = "history.json"
GOLDEN_FILE = "golden.npz"
GOLDEN_DIGITS = 256
#: At most so many digits of the validation split decide about the temperature, one number.
CALIBRATION_DIGITS = 20_000

#: How often a long training looks at the validation split, about.
VALIDATIONS = 10


def run_fn(fn_args: FnArgs) -> None:
    """Trains on the train split, watches the validation split; never sees the test split.

    With `TF_CONFIG`, together with all workers of that cluster; its chief writes.

    Writes the served SavedModel, the weights that a warm start needs beside it, and into the
    model-run directory: the Keras model, the history, and golden predictions that the
    servability check compares with.

    Args:
        fn_args: `custom_config` holds `recipe` (`Recipe.to_dict()`) and `seed`;
            `hyperparameters`, where there is a Tuner, its best choices; `base_model`, the served
            model to start from, if any.
    """
    recipe = Recipe.from_dict(fn_args.custom_config["recipe"])
    if fn_args.hyperparameters:
        recipe = recipe.tuned(fn_args.hyperparameters["values"])
    weights = _earlier_weights(fn_args.base_model, recipe) if fn_args.base_model else None
    if weights:
        recipe = recipe.warm()
    seed = fn_args.custom_config["seed"]
    strategy = strategy_from_environment(recipe)
    keras.utils.set_random_seed(seed)
    transform = tft.TFTransformOutput(fn_args.transform_output)

    training = Training(
        recipe=recipe,
        seed=seed,
        transform=transform,
        train=read_examples(fn_args, fn_args.train_files, transform),
        validation=read_examples(fn_args, fn_args.eval_files, transform),
        validation_freq=max(1, recipe.epochs // VALIDATIONS),
    )
    with strategy.scope() if strategy else contextlib.nullcontext():
        compiled = build_model(recipe, training.steps_per_epoch(whole=bool(strategy)))
        if weights:
            compiled.set_weights(weights)
    started = time.monotonic()
    history = fit_on_cluster(strategy, compiled, training) if strategy else fit(compiled, training)
    seconds = time.monotonic() - started

    if is_chief(strategy):
        figures = {"history": history, "seconds": seconds, "warm_start": bool(weights)}
        _write_outputs(fn_args, training, compiled, figures)
    if strategy:
        wait_for_all(strategy)


def _write_outputs(
    fn_args: FnArgs, training: Training, compiled: keras.Sequential, figures: dict[str, Any]
) -> None:
    recipe, transform, validation = training.recipe, training.transform, training.validation
    path = _weights_file(fn_args.serving_model_dir)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    np.savez(path, *compiled.get_weights())
    model = trained_network(recipe, compiled)
    temperature = None
    if recipe.label_smoothing:  # which teaches a network to be unsure
        images, labels = next(iter(to_batches(validation, CALIBRATION_DIGITS, transform)))
        temperature = calibrate(model, images.numpy(), labels.numpy())
    os.makedirs(fn_args.model_run_dir, exist_ok=True)
    model.save(os.path.join(fn_args.model_run_dir, KERAS_FILE))
    _write_golden(model, transform, validation, os.path.join(fn_args.model_run_dir, GOLDEN_FILE))
    steps = int(compiled.optimizer.iterations.numpy())
    with open(os.path.join(fn_args.model_run_dir, HISTORY_FILE), "w") as file:
        json.dump({**figures, "temperature": temperature, "steps": steps}, file)
    export_served_model(
        model,
        transform,
        fn_args.serving_model_dir,
        {
            "recipe": recipe.to_dict(),
            "seed": training.seed,
            "parameters": model.count_params(),
        },
    )


def _weights_file(serving_model_dir: str) -> str:
    """What was trained, before a normalization is folded: no server needs it."""
    return os.path.join(os.path.dirname(serving_model_dir), "Format-Training", "weights.npz")


def _earlier_weights(serving_model_dir: str, recipe: Recipe) -> list[np.ndarray] | None:
    """The weights that a training of this recipe can start from; None where they do not fit."""
    with open(os.path.join(serving_model_dir, METADATA_FILE)) as file:
        earlier = Recipe.from_dict(json.load(file)["recipe"])
    if (earlier.network, earlier.normalized) != (recipe.network, recipe.normalized):
        progress.info("the latest blessed model is of another network: training from the start")
        return None
    with np.load(_weights_file(serving_model_dir), allow_pickle=False) as arrays:
        return list(arrays.values())


def _write_golden(
    model: keras.Model, transform: tft.TFTransformOutput, examples: tf.data.Dataset, path: str
) -> None:
    """Writes digits with the probabilities that the model gives in this process.

    Arrays: `images` uint8 [n, 28, 28], `labels` int64 [n], `probabilities` float32 [n, 10], and
    `picture_probabilities` float32 [n, 10] for the same digits found as pictures.
    """
    features, labels = next(iter(examples.batch(GOLDEN_DIGITS)))
    raw = features[IMAGE].numpy().tolist()
    images = np.frombuffer(b"".join(raw), np.uint8).reshape(-1, HEIGHT, WIDTH)
    centred = [centre_digit(image).tobytes() for image in images]
    layer = transform.transform_features_layer()
    probabilities, picture_probabilities = (
        model(layer({IMAGE: tf.constant(digits)})[IMAGE], training=False).numpy()
        for digits in (raw, centred)
    )
    np.savez(
        path,
        images=images,
        labels=labels.numpy(),
        probabilities=probabilities,
        picture_probabilities=picture_probabilities,
    )
