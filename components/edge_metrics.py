"""Figures of an edge model beside those of the served model, on the same digits, paired."""

from typing import Any

import numpy as np
from scipy import stats

from components.sources import CLASSES


def compare(
    labels: np.ndarray, probabilities: np.ndarray, served_probabilities: np.ndarray
) -> dict[str, Any]:
    """Compares an edge model with the served model.

    Args:
        labels: int64 [n], the truth.
        probabilities: float32 [n, 10], what the edge model says.
        served_probabilities: float32 [n, 10], what the served model says.

    Returns:
        `accuracy` and `served_accuracy`; the figures of `compare_hits`, the served model being
        the reference; `disagreements`, the digits with different labels; `recall` of each digit,
        None for a digit that has no examples; `expected_calibration_error` and
        `served_expected_calibration_error`.
    """
    found, served = probabilities.argmax(1), served_probabilities.argmax(1)
    hits, served_hits = found == labels, served == labels
    by_digit = [hits[labels == digit] for digit in range(CLASSES)]
    return {
        "examples": len(labels),
        "accuracy": float(hits.mean()),
        "served_accuracy": float(served_hits.mean()),
        **compare_hits(hits, served_hits),
        "disagreements": int((found != served).sum()),
        "recall": [float(part.mean()) if len(part) else None for part in by_digit],
        "expected_calibration_error": calibration_error(probabilities.max(1), hits),
        "served_expected_calibration_error": calibration_error(
            served_probabilities.max(1), served_hits
        ),
    }


def compare_hits(hits: np.ndarray, reference_hits: np.ndarray) -> dict[str, Any]:
    """Compares which digits are recognised.

    Args:
        hits: bool [n], the digits that a model recognises.
        reference_hits: bool [n], those that the reference does.

    Returns:
        `lost` and `gained`, the digits that only the reference and only the model recognises;
        `loss_p_value`, of the exact one-sided McNemar test that `lost` is not by chance the
        larger (McNemar, 1947); `difference_interval_95`, where the difference of the accuracies
        lies.
    """
    lost = int((reference_hits & ~hits).sum())
    gained = int((hits & ~reference_hits).sum())
    discordant = lost + gained
    test = stats.binomtest(lost, discordant, 0.5, alternative="greater") if discordant else None
    return {
        "lost": lost,
        "gained": gained,
        "loss_p_value": float(test.pvalue) if test else 1.0,
        "difference_interval_95": difference_interval(lost, gained, len(hits)),
    }


def difference_interval(lost: int, gained: int, examples: int) -> list[float]:
    """Returns the 95 % interval of a difference of two paired accuracies.

    Wald's, after half an example has been added to each cell of the 2x2 table, without which it
    is far too narrow when few differ: Agresti and Min, Statistics in Medicine 24 (2005).
    """
    total, less, more = examples + 2, lost + 0.5, gained + 0.5
    difference = (more - less) / total
    deviation = np.sqrt(less + more - (more - less) ** 2 / total) / total
    reach = stats.norm.ppf(0.975) * deviation
    return [float(difference - reach), float(difference + reach)]


def calibration_error(confidences: np.ndarray, hits: np.ndarray) -> float:
    """The mean distance of confidence from accuracy, in ten bins (Naeini et al., AAAI 2015).

    Args:
        confidences: float [n], the probability of each first choice, 0 to 1.
        hits: bool [n], whether it was right.
    """
    bins = np.minimum((confidences * 10).astype(int), 9)
    return float(np.abs(np.bincount(bins, confidences - hits)).sum() / len(hits))
