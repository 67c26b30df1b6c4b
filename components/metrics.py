"""TFMA metrics of a ten-class classifier, derived from a confusion matrix and a histogram."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import (
    calibration_histogram,
    metric_types,
    metric_util,
    multi_class_confusion_matrix_metrics,
)
from tensorflow_model_analysis.proto import config_pb2

# Counts by (actual class, predicted class), and the class that a metric is about, if any.
Counts = Mapping[tuple[int, int], float]

#: Intervals of confidence that a calibration error looks at.
CALIBRATION_BINS = 10


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


def expected_calibration_error(
    bins: Sequence[calibration_histogram.Bucket], _: int | None = None
) -> float:
    """The mean distance of confidence from accuracy (Naeini et al., AAAI 2015).

    For a specification that is binarized to the first choice.
    """
    total = sum(part.weighted_examples for part in bins)
    distance = sum(abs(part.weighted_labels - part.weighted_predictions) for part in bins)
    return distance / total if total else math.nan


class _ConfusionMatrix:
    """What TFMA counts for a formula over `Counts`."""

    @staticmethod
    def computations(
        sub_key: metric_types.SubKey | None, **options: Any
    ) -> metric_types.MetricComputations:
        return multi_class_confusion_matrix_metrics.multi_class_confusion_matrices(
            thresholds=[0.0], **options
        )

    @staticmethod
    def read(result: Mapping[float, Counts]) -> Counts:
        return result[0.0]


class _Confidences:
    """What TFMA counts for a formula over bins of confidence."""

    @staticmethod
    def computations(
        sub_key: metric_types.SubKey | None, **options: Any
    ) -> metric_types.MetricComputations:
        return calibration_histogram.calibration_histogram(
            sub_key=sub_key, left=0.0, right=1.0, **options
        )

    @staticmethod
    def read(result: calibration_histogram.Histogram) -> calibration_histogram.Histogram:
        limits = [-math.inf, *(index / CALIBRATION_BINS for index in range(CALIBRATION_BINS))]
        # Binarized to the first choice, TFMA gives all other classes the probability -inf.
        _, *bins = calibration_histogram.rebin(limits, result)
        return bins


def _metric(
    formula: Callable[[Any, int | None], float],
    source: type[_ConfusionMatrix] | type[_Confidences] = _ConfusionMatrix,
) -> type[tfma.metrics.Metric]:
    """Makes the TFMA metric of a formula over what a source has counted."""

    def computations(
        name: str,
        eval_config: config_pb2.EvalConfig | None = None,
        model_name: str = "",
        output_name: str = "",
        sub_key: metric_types.SubKey | None = None,
        example_weighted: bool = False,
    ) -> metric_types.MetricComputations:
        of = {
            "model_name": model_name,
            "output_name": output_name,
            "example_weighted": example_weighted,
        }
        counted = source.computations(sub_key, eval_config=eval_config, **of)
        key = metric_types.MetricKey(name=name, sub_key=sub_key, **of)
        digit = sub_key.class_id if sub_key else None

        def result(
            metrics: dict[metric_types.MetricKey, Any],
        ) -> dict[metric_types.MetricKey, float]:
            return {key: formula(source.read(metrics[counted[-1].keys[-1]]), digit)}

        return [*counted, metric_types.DerivedMetricComputation(keys=[key], result=result)]

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
ExpectedCalibrationError = _metric(expected_calibration_error, _Confidences)
