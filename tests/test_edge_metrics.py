import numpy as np
import pytest

from components.edge_evaluator import gate
from components.edge_metrics import calibration_error, compare, difference_interval

BOUNDS = {"min_accuracy": 0.9, "min_recall": 0.7, "max_disagreement": 0.01}


def sure(labels: np.ndarray) -> np.ndarray:
    """The probabilities of a model that has no doubt."""
    return np.eye(10, dtype=np.float32)[labels]


def test_disagreements_are_counted_both_ways():
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 7])
    served = np.array([0, 1, 2, 3, 9, 9, 9, 7])  # misses 4, 5, 6
    edge = np.array([0, 1, 9, 9, 4, 9, 8, 7])  # misses 2, 3, 5, 6; 6 otherwise than served
    metrics = compare(labels, sure(edge), sure(served))
    assert metrics["accuracy"] == 4 / 8
    assert metrics["served_accuracy"] == 5 / 8
    assert (metrics["lost"], metrics["gained"], metrics["disagreements"]) == (2, 1, 4)
    # Of 3 discordant digits at least 2 lost by chance: 4 of 8 outcomes.
    assert metrics["loss_p_value"] == pytest.approx(0.5)
    assert metrics["recall"] == [1, 1, 0, 0, 1, 0, 0, 1, None, None]
    low, high = metrics["difference_interval_95"]
    assert low < 4 / 8 - 5 / 8 < high


def test_the_interval_of_the_difference_covers_it_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    examples, lost, gained = 1000, 0.004, 0.002
    counts = rng.multinomial(examples, [lost, gained, 1 - lost - gained], 2000)
    intervals = [difference_interval(int(a), int(b), examples) for a, b, _ in counts]
    covered = np.mean([low <= gained - lost <= high for low, high in intervals])
    assert 0.94 < covered < 0.98


def test_calibration_error_by_hand():
    # Three digits at 0.75, of which two are right; one at 1, wrong.
    confidences, hits = np.array([0.75, 0.75, 0.75, 1.0]), np.array([True, True, False, False])
    expected = 3 / 4 * abs(0.75 - 2 / 3) + 1 / 4 * 1
    assert calibration_error(confidences, hits) == pytest.approx(expected)
    labels = np.arange(10)
    metrics = compare(labels, sure(labels) * 0.5 + 0.05, sure(labels))
    assert metrics["expected_calibration_error"] == pytest.approx(0.45)
    assert metrics["served_expected_calibration_error"] == 0


def test_the_gate_says_each_thing_that_is_wrong():
    labels = np.repeat(np.arange(10), 100)
    good = compare(labels, sure(labels), sure(labels))
    assert gate(good, **BOUNDS) == []
    found = np.where(np.arange(1000) % 100 < 40 * (labels == 3), 5, labels)  # 40 threes
    found = np.where(np.arange(1000) % 100 < 10 * (labels != 3), 0, found)
    refusals = gate(compare(labels, sure(found), sure(labels)), **BOUNDS)
    assert [refusal.split()[0] for refusal in refusals] == [
        *("accuracy", "recall", "120", "worse", "calibration")
    ]
    assert refusals[1] == "recall of digit 3 0.6000 is below 0.7"


def test_few_lost_digits_may_be_chance_many_are_not():
    labels = np.zeros(10_000, int)
    for lost, refused in ((4, False), (5, True)):  # 1/16 and 1/32, against 0.05
        edge = np.repeat([1, 0], [lost, 10_000 - lost])
        found = gate(compare(labels, sure(edge), sure(labels)), **BOUNDS)
        assert bool(found) == refused


def test_confidence_may_be_off_a_little_more_than_the_served_models():
    labels = np.zeros(100, int)
    for error, refused in ((0.015, False), (0.025, True)):
        doubtful = sure(labels)
        doubtful[:, 0] -= error
        found = gate(compare(labels, doubtful, sure(labels)), **BOUNDS)
        assert bool(found) == refused
