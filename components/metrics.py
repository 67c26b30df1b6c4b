"""TFMA metrics of a ten-class classifier, all derived from one confusion matrix."""

import math
from collections.abc import Callable, Mapping

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import (
    metric_types,
    metric_util,
    multi_class_confusion_matrix_metrics,
)
from tensorflow_model_analysis.proto import config_pb2

# Counts by (actual class, predicted class), and the class that a metric is about, if any.
Counts = Mapping[tuple[int, int], float]
Formula = Callable[[Counts, int | None], float]


def accuracy(counts: Counts, _: int | None = None) -> float:
    """The share of examples whose most probable class is theirs."""
    total = sum(counts.values())
    hits = sum(count for (actual, predicted), count in counts.items() if actual == predicted)
    return hits / total if total else math.nan


def accuracy_in_deviations(counts: Counts, _: int | None = None) -> float:
    """Accuracy on a scale where sampling noise has the same size everywhere.

    2 sqrt(n) arcsin(sqrt(accuracy)) has a standard deviation of 1, whatever the accuracy and the
    number n of examples (Freeman and Tukey, 1950; it is the scale of Cohen's h). The difference
    of two models' values, over sqrt(2), is then a z score: one change threshold fits every
    data set.
    """
    return 2 * math.sqrt(sum(counts.values())) * math.asin(math.sqrt(accuracy(counts)))


def recall(counts: Counts, digit: int | None) -> float:
    """Of the examples of a class, the share recognised."""
    return _share(counts, digit, lambda actual, _: actual)


def precision(counts: Counts, digit: int | None) -> float:
    """Of the examples taken for a class, the share that are of it; NaN where none was."""
    return _share(counts, digit, lambda _, predicted: predicted)


def _share(counts: Counts, digit: int | None, of: Callable[[int, int], int]) -> float:
    total = sum(count for pair, count in counts.items() if of(*pair) == digit)
    return counts.get((digit, digit), 0.0) / total if total else math.nan  # type: ignore[arg-type]


def _metric(formula: Formula) -> type[tfma.metrics.Metric]:
    """Makes the TFMA metric of a formula over the confusion matrix."""

    def computations(
        name: str,
        eval_config: config_pb2.EvalConfig | None = None,
        model_name: str = "",
        output_name: str = "",
        sub_key: metric_types.SubKey | None = None,
        example_weighted: bool = False,
    ) -> metric_types.MetricComputations:
        matrices = multi_class_confusion_matrix_metrics.multi_class_confusion_matrices(
            thresholds=[0.0],
            eval_config=eval_config,
            model_name=model_name,
            output_name=output_name,
            example_weighted=example_weighted,
        )
        key = metric_types.MetricKey(
            name=name,
            model_name=model_name,
            output_name=output_name,
            sub_key=sub_key,
            example_weighted=example_weighted,
        )
        digit = sub_key.class_id if sub_key else None

        def result(
            metrics: dict[metric_types.MetricKey, dict[float, Counts]],
        ) -> dict[metric_types.MetricKey, float]:
            return {key: formula(metrics[matrices[-1].keys[-1]][0.0], digit)}

        return [*matrices, metric_types.DerivedMetricComputation(keys=[key], result=result)]

    class DerivedMetric(tfma.metrics.Metric):
        def __init__(self, name: str = formula.__name__):
            super().__init__(metric_util.merge_per_key_computations(computations), name=name)

    DerivedMetric.__doc__ = formula.__doc__
    return DerivedMetric


# TFMA looks a class name up among its own metrics first, and its Recall and Precision are those
# of a binary decision at 0.5: none of these names may be one of TFMA's.
Accuracy = _metric(accuracy)
AccuracyInDeviations = _metric(accuracy_in_deviations)
DigitRecall = _metric(recall)
DigitPrecision = _metric(precision)
