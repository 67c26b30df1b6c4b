"""TFMA metrics of a ten-class classifier, derived from a confusion matrix and a histogram."""

import math
from collections.abc import Callable, Iterable, Mapping

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
Formula = Callable[[Counts, int | None], float]

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


def calibration_error(bins: Iterable[calibration_histogram.Bucket]) -> float:
    """The mean distance of confidence from accuracy (Naeini et al., AAAI 2015).

    Args:
        bins: of examples by the probability of their first choice.
    """
    bins = list(bins)
    total = sum(part.weighted_examples for part in bins)
    distance = sum(abs(part.weighted_labels - part.weighted_predictions) for part in bins)
    return distance / total if total else math.nan


def _calibration_computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    sub_key: metric_types.SubKey | None = None,
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    histogram = calibration_histogram.calibration_histogram(
        eval_config=eval_config,
        model_name=model_name,
        output_name=output_name,
        sub_key=sub_key,
        left=0.0,
        right=1.0,
        example_weighted=example_weighted,
    )
    key = metric_types.MetricKey(
        name=name,
        model_name=model_name,
        output_name=output_name,
        sub_key=sub_key,
        example_weighted=example_weighted,
    )
    limits = [-math.inf, *(index / CALIBRATION_BINS for index in range(CALIBRATION_BINS))]

    def result(
        metrics: dict[metric_types.MetricKey, calibration_histogram.Histogram],
    ) -> dict[metric_types.MetricKey, float]:
        # Binarized to the first choice, TFMA gives all other classes the probability -inf.
        _, *bins = calibration_histogram.rebin(limits, metrics[histogram[-1].keys[-1]])
        return {key: calibration_error(bins)}

    return [*histogram, metric_types.DerivedMetricComputation(keys=[key], result=result)]


class ExpectedCalibrationError(tfma.metrics.Metric):
    """`calibration_error` of the first choice; for a specification binarized to it."""

    def __init__(self, name: str = "expected_calibration_error"):
        super().__init__(
            metric_util.merge_per_key_computations(_calibration_computations), name=name
        )


# TFMA looks a class name up among its own metrics first, and its Recall and Precision are those
# of a binary decision at 0.5: none of these names may be one of TFMA's.
Accuracy = _metric(accuracy)
AccuracyInDeviations = _metric(accuracy_in_deviations)
DigitRecall = _metric(recall)
DigitPrecision = _metric(precision)
