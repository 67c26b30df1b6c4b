"""Two-sample tests of every feature, with one false-alarm rate for all of them together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from components.sources import CLASSES


@dataclass(frozen=True)
class Comparison:
    """A feature, in the reference and in the requests.

    Attributes:
        feature: its name.
        reference: median in the reference; of the class mix the most frequent digit's share.
        requests: the same in the requests.
        distance: 0 to 1, however many digits: of two distribution functions (Kolmogorov and
            Smirnov), or of the shares of the digits (total variation).
        p_value: that the distance is by chance as great, corrected for all features (Holm).
        is_drift: the corrected p-value is below the false-alarm rate.
    """

    feature: str
    reference: float
    requests: float
    distance: float
    p_value: float
    is_drift: bool


def compare(
    reference: Mapping[str, np.ndarray], requests: Mapping[str, np.ndarray], *, alpha: float
) -> list[Comparison]:
    """Compares each feature.

    If the requests are a random sample of what the reference is one of, any feature alarms with
    a probability of at most `alpha`: Holm, Scandinavian Journal of Statistics 6 (1979).

    Args:
        reference: the values of each feature, [n].
        requests: the same, [m], of features that the reference has.
        alpha: the false-alarm rate, 0 to 1.
    """
    found = []
    for feature, values in requests.items():
        old, new = (array[np.isfinite(array)] for array in (reference[feature], values))
        if not len(old) or not len(new):
            continue
        found.append((feature, *(_shares if feature == "class mix" else _distributions)(old, new)))
    p_values = holm([p for *_, p in found])
    return [
        Comparison(feature, middle_old, middle_new, distance, p, p < alpha)
        for (feature, middle_old, middle_new, distance, _), p in zip(found, p_values, strict=True)
    ]


def holm(p_values: list[float]) -> list[float]:
    """Returns p-values for which the greatest of all false-alarm rates holds for them together."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    scaled = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected.tolist()


def _distributions(old: np.ndarray, new: np.ndarray) -> tuple[float, float, float, float]:
    test = stats.ks_2samp(old, new, method="asymp")
    return float(np.median(old)), float(np.median(new)), float(test.statistic), float(test.pvalue)


def _shares(old: np.ndarray, new: np.ndarray) -> tuple[float, float, float, float]:
    counts = np.stack([np.bincount(labels, minlength=CLASSES) for labels in (old, new)])
    counts = counts[:, counts.any(0)]
    shares = counts / counts.sum(1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    p = float(stats.chi2_contingency(counts).pvalue) if counts.shape[1] > 1 else 1.0
    return float(shares[0].max()), float(shares[1].max()), distance, p
