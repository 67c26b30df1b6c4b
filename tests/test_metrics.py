import math

import numpy as np
import pytest
from tensorflow_model_analysis.metrics.calibration_histogram import Bucket

from components import metrics

# Actual 0: 8 right, 2 taken for 1. Actual 1: 5 right. Actual 2: 5, all taken for 0.
COUNTS = {(0, 0): 8.0, (0, 1): 2.0, (1, 1): 5.0, (2, 0): 5.0}


def test_accuracy_recall_and_precision():
    assert metrics.accuracy(COUNTS) == 13 / 20
    assert [metrics.recall(COUNTS, digit) for digit in range(3)] == [0.8, 1.0, 0.0]
    assert metrics.precision(COUNTS, 0) == 8 / 13
    assert metrics.precision(COUNTS, 1) == 5 / 7
    assert math.isnan(metrics.precision(COUNTS, 2))
    assert math.isnan(metrics.recall(COUNTS, 3))


@pytest.mark.parametrize(("n", "p"), [(500, 0.97), (10_000, 0.99), (10_000, 0.9)])
def test_deviations_have_unit_noise_for_every_size_and_accuracy(n, p):
    hits = np.random.default_rng(7).binomial(n, p, 4000)
    values = [metrics.accuracy_in_deviations({(0, 0): k, (0, 1): n - k}) for k in hits]
    assert np.std(values) == pytest.approx(1, abs=0.06)


def test_calibration_error_by_hand():
    # Of four examples at 0.7 three are right, of six at 0.9 half.
    bins = [Bucket(8, 3, 4 * 0.7, 4), Bucket(9, 0, 0, 0), Bucket(10, 3, 6 * 0.9, 6)]
    assert metrics.expected_calibration_error(bins) == pytest.approx((0.2 + 2.4) / 10)
    assert math.isnan(metrics.expected_calibration_error([]))


def test_no_metric_of_tfma_hides_ours():
    from tensorflow_model_analysis.metrics import metric_types

    ours = {"Accuracy", "AccuracyInDeviations", "DigitRecall", "DigitPrecision"}
    ours.add("ExpectedCalibrationError")
    assert ours <= set(vars(metrics))
    theirs = metric_types.registered_metrics()
    assert "Recall" in theirs
    assert not ours & set(theirs)
