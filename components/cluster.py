"""Training on several machines at once: the cluster that `TF_CONFIG` describes.

Every worker runs the same training on its share of each batch; gradients are summed over all
workers in every step. All read the same digits in the same order: what is trained does not depend
on the number of workers, but for the order of additions.
"""

import json
import os
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.recipes import Recipe
from components.training import report_epoch, steps_per_epoch
from components.training_data import READ_BATCH, Share, to_batches, training_batches
from serving.errors import InputError


def strategy_from_environment(recipe: Recipe) -> tf.distribute.MultiWorkerMirroredStrategy | None:
    """Joins the cluster of `TF_CONFIG`; None where there is none, or it has one worker.

    Waits for all workers. Must be called before TensorFlow does anything else in the process.

    Raises:
        InputError: `TF_CONFIG` cannot be used.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return None
    try:
        cluster = json.loads(text)["cluster"]
        workers = sum(len(addresses) for addresses in cluster.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"TF_CONFIG: expected JSON with a cluster of workers ({error})") from error
    if unknown := set(cluster) - {"chief", "worker"}:
        raise InputError(f"TF_CONFIG: only a chief and workers are used, not {sorted(unknown)}")
    if workers < 2:
        return None
    if recipe.batch_size % workers:
        raise InputError(
            f"TF_CONFIG: {workers} workers cannot share batches of {recipe.batch_size} digits "
            "evenly; choose another number"
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(
            f"TF_CONFIG: {error}; train in a process of its own, as Kubeflow does"
        ) from error


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process writes what was trained: one of all workers does."""
    if strategy is None:
        return True
    resolver = strategy.cluster_resolver
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_id == 0


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns when every worker has come here: the end of one ends the training of the others."""

    @tf.function
    def meet() -> None:
        strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.ones([])))

    meet()


def fit_on_cluster(
    strategy: tf.distribute.Strategy,
    model: keras.Sequential,
    recipe: Recipe,
    seed: int,
    transform: tft.TFTransformOutput,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    *,
    validation_freq: int = 1,
) -> dict[str, list[float]]:
    """`components.training.fit` on a cluster.

    Keras 3's own `fit` fails with this strategy: it cannot average a distributed batch to build
    the model ("Attempt to convert a value (PerReplica...) with an unsupported type").

    Args:
        strategy: in whose scope the model was built.
        model: is changed.
        recipe: that it was built for.
        seed: of the order and the changes of the digits.
        transform: Transform's output.
        train: what `read_examples` returned for the train split.
        validation: the same for the validation split.
        validation_freq: look at the validation split every so many epochs.

    Returns:
        Metrics by epoch, as Keras's history.
    """
    resolver = strategy.cluster_resolver
    spec = resolver.cluster_spec().as_dict()
    before = len(spec.get("chief", [])) if resolver.task_type == "worker" else 0
    share = Share(first=before + resolver.task_id, workers=strategy.num_replicas_in_sync)

    def distribute(dataset: tf.data.Dataset) -> tf.data.Dataset:
        return strategy.distribute_datasets_from_function(lambda _: dataset)

    @tf.function
    def train_step(batch: Any) -> None:
        strategy.run(model.train_step, args=(batch,))

    @tf.function
    def validation_step(batch: Any) -> None:
        strategy.run(model.test_step, args=(batch,))

    def metrics() -> dict[str, float]:
        found = {name: float(value) for name, value in model.get_metrics_result().items()}
        model.reset_metrics()
        return found

    batches = iter(distribute(training_batches(train, recipe, transform, seed, share)))
    # Each looks at the whole split: the sums over all workers give the metrics of one.
    validation_batches = distribute(to_batches(validation, READ_BATCH, transform))
    history: dict[str, list[float]] = {}
    model.reset_metrics()
    for epoch in range(1, recipe.epochs + 1):
        for _ in range(steps_per_epoch(recipe, train, whole=True)):
            train_step(next(batches))
        logs = metrics()
        if epoch % validation_freq == 0:
            for batch in validation_batches:
                validation_step(batch)
            logs |= {f"val_{name}": value for name, value in metrics().items()}
        for name, value in logs.items():
            history.setdefault(name, []).append(value)
        report_epoch(epoch, recipe.epochs, logs)
    return history
