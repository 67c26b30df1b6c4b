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

from components.recipes import Recipe
from components.training import Training, report_epoch
from components.training_data import Share
from serving.errors import InputError


def require_no_cluster() -> None:
    """For a process that does more than to train, and so cannot join a cluster.

    Raises:
        InputError: `TF_CONFIG` describes one.
    """
    if (workers := _workers_in_environment()) > 1:
        raise InputError(
            f"TF_CONFIG: describes {workers} workers, but a whole pipeline runs on one machine; "
            "unset it, or let the workers run the Trainer alone: docs/scale.md, "
            '"Training on several machines"'
        )


def strategy_from_environment(recipe: Recipe) -> tf.distribute.MultiWorkerMirroredStrategy | None:
    """Joins the cluster of `TF_CONFIG`; None where there is none, or it has one worker.

    Waits for all workers. Must be called before TensorFlow does anything else in the process.

    Raises:
        InputError: `TF_CONFIG` cannot be used.
    """
    workers = _workers_in_environment()
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


def _workers_in_environment() -> int:
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0
    try:
        cluster = json.loads(text)["cluster"]
        workers = sum(len(addresses) for addresses in cluster.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"TF_CONFIG: expected JSON with a cluster of workers ({error})") from error
    if unknown := set(cluster) - {"chief", "worker"}:
        raise InputError(f"TF_CONFIG: only a chief and workers are used, not {sorted(unknown)}")
    return workers


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
    strategy: tf.distribute.Strategy, model: keras.Sequential, training: Training
) -> dict[str, list[float]]:
    """`components.training.fit` on a cluster.

    Keras 3's own `fit` fails with this strategy: it cannot average a distributed batch to build
    the model ("Attempt to convert a value (PerReplica...) with an unsupported type").

    Args:
        strategy: in whose scope the model was built.
        model: is changed.
        training: the same for every worker.

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

    batches = iter(distribute(training.train_batches(share)))
    # Each looks at the whole split: the sums over all workers give the metrics of one.
    validation_batches = distribute(training.validation_batches())
    history: dict[str, list[float]] = {}
    model.reset_metrics()
    epochs = training.recipe.epochs
    for epoch in range(1, epochs + 1):
        for _ in range(training.steps_per_epoch(whole=True)):
            train_step(next(batches))
        logs = metrics()
        if epoch % training.validation_freq == 0:
            for batch in validation_batches:
                validation_step(batch)
            logs |= {f"val_{name}": value for name, value in metrics().items()}
        for name, value in logs.items():
            history.setdefault(name, []).append(value)
        report_epoch(epoch, epochs, logs)
    return history
