"""The facts of a run, typed: what its report, its model card and its bundle's card are filled from.

They are the figures of `summary.json`, and the pictures that go with them. Any part may be
missing: a run that a gate refused has no edge model, a bundle knows nothing of the run's time.
"""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

#: What the text that the network and its training come from claims for MNIST's test split.
SEED_CLAIM = 0.994
SEED_CLAIM_EXAMPLES = 10_000

#: The lowest and the highest value that 95 % confidence allows.
Interval = tuple[float, float]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Run(_Part):
    """When a run began, ISO 8601 with a time zone, and the seconds that it took."""

    started: str
    seconds: float


class Split(_Part):
    """Counts of a split, by label, and in words what ExampleValidator found wrong with it."""

    examples: int
    by_label: list[int]
    anomalies: list[str] = []


class Data(_Part):
    """Where the digits came from, and the splits by name.

    Attributes:
        source: as `--data` named it.
        splits: of the newest span, or of all there is.
        span: the newest; None where the data has no spans.
        trained_on_spans: the rolling window; None where the data has no spans.
    """

    source: str
    splits: dict[str, Split]
    span: int | None = None
    trained_on_spans: list[int] | None = None

    @property
    def anomalies(self) -> list[str]:
        """Of all splits."""
        return [text for split in self.splits.values() for text in split.anomalies]


class Confidence(_Part):
    """The digits whose first choice has a probability in an interval: half of a calibration plot.

    Attributes:
        lower: of the interval.
        upper: of the interval.
        count: how many digits.
        confidence: the mean of their first choices' probabilities.
        accuracy: the share of them whose first choice is right.
    """

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float


class Baseline(_Part):
    """The latest blessed model before this one, on the same test split.

    Attributes:
        accuracy: on the test split of this run.
        interval_95: of the accuracy.
        version: under which it was pushed, if it was.
        same: it is this run's own model.
    """

    accuracy: float
    interval_95: Interval
    version: str | None
    same: bool


class Confusion(_Part):
    """How often one digit was taken for another."""

    actual: int
    predicted: int
    count: int


class ServedModel(_Part):
    """What TFMA measured of the served model on the test split, and how it was trained.

    Attributes:
        accuracy: share of the test digits recognised.
        interval_95: of the accuracy, Wilson's.
        recall: by digit.
        recall_interval_95: by digit, Wilson's.
        precision: by digit; None where no digit was taken for it.
        confusion_matrix: counts by actual digit (row) and predicted digit (column).
        expected_calibration_error: the mean distance of confidence from accuracy.
        calibration: the intervals of confidence that hold digits.
        baseline: the latest blessed model, if there was one.
        parameters: number of trained values.
        bytes: of the SavedModel.
        sha256: of the SavedModel's files.
        training_seconds: wall time of the training.
        steps: of the optimizer.
        temperature: by which calibration divided the logits; None without it.
        warm_start: whether training began with the weights of the baseline.
        history: by metric, a value an epoch; those of the validation split (`val_...`) may be
            fewer, evenly spread.
    """

    accuracy: float
    interval_95: Interval
    recall: list[float]
    recall_interval_95: list[Interval]
    precision: list[float | None]
    confusion_matrix: list[list[int]]
    expected_calibration_error: float
    calibration: list[Confidence] = []
    baseline: Baseline | None = None
    parameters: int
    bytes: int
    sha256: str
    training_seconds: float
    steps: int
    temperature: float | None = None
    warm_start: bool = False
    history: dict[str, list[float]]

    @property
    def examples(self) -> int:
        """How many test digits."""
        return sum(sum(row) for row in self.confusion_matrix)

    @property
    def errors(self) -> int:
        """How many of them were not recognised."""
        return self.examples - sum(row[digit] for digit, row in enumerate(self.confusion_matrix))

    @property
    def weakest_digit(self) -> int:
        """The digit of the lowest recall."""
        return min(range(len(self.recall)), key=lambda digit: self.recall[digit])

    @property
    def confusions(self) -> list[Confusion]:
        """The mistakes by frequency, the most frequent first."""
        found = [
            Confusion(actual=actual, predicted=predicted, count=count)
            for actual, row in enumerate(self.confusion_matrix)
            for predicted, count in enumerate(row)
            if count and actual != predicted
        ]
        return sorted(found, key=lambda confusion: -confusion.count)

    @property
    def epochs(self) -> int:
        """For how many the training went on."""
        return max(map(len, self.history.values()), default=0)

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """The values of a metric with the epochs, from 1, after which they were measured."""
        values = self.history.get(metric, [])
        every = self.epochs // len(values) if values else 1
        return [(every * (index + 1), value) for index, value in enumerate(values)]


class Variant(_Part):
    """An edge model on the test split, beside the served model.

    Attributes:
        accuracy: share of the test digits recognised.
        served_accuracy: the served model's.
        examples: how many digits.
        lost: digits that only the served model recognised.
        gained: digits that only the edge model recognised.
        disagreements: digits that got different labels.
        difference_interval_95: of the difference of the accuracies.
        recall: by digit; None for a digit without examples.
        expected_calibration_error: the mean distance of confidence from accuracy.
        refusals: why it was not pushed; empty if it was.
        bytes: of the file.
        sha256: of the file.
        latency_us: the median time for a digit, microseconds, where it was measured.
    """

    accuracy: float
    served_accuracy: float
    examples: int
    lost: int
    gained: int
    disagreements: int
    difference_interval_95: Interval | None = None
    recall: list[float | None] = []
    expected_calibration_error: float | None = None
    refusals: list[str] = []
    bytes: int
    sha256: str
    latency_us: float | None = None

    @property
    def agreement(self) -> float:
        """The share of digits that got the served model's label."""
        return 1 - self.disagreements / self.examples

    @property
    def interval_95(self) -> Interval:
        """Of the accuracy, Wilson's."""
        return wilson_interval(round(self.accuracy * self.examples), self.examples)


class Disturbance(_Part):
    """Accuracies on disturbed digits: as they are, and through the reference preprocessing."""

    raw_accuracy: float
    preprocessed_accuracy: float


class Stress(_Part):
    """The default edge model on disturbed digits, by the disturbance's name."""

    digits: int
    disturbances: dict[str, Disturbance]


class Edge(_Part):
    """The edge models by variant, and how the default one stands disturbances."""

    variants: dict[str, Variant]
    stress: Stress | None = None


class Gate(_Part):
    """A gate's decision and its reason."""

    blessed: bool
    reason: str


class Component(_Part):
    """What became of a component, how long it took, and the process's peak of memory."""

    name: str
    state: Literal["ran", "cached", "skipped", "failed"]
    seconds: float
    peak_mib: int


class Pushed(_Part):
    """The version that a run pushed, and where to."""

    version: str
    serving: str | None = None
    edge: str | None = None


class Artifact(_Part):
    """What a component made: the output's name, where it lies, and the code that made it."""

    component: str
    output: str
    uri: str
    code_sha256: str


class Lineage(_Part):
    """What made the models.

    Attributes:
        data_fingerprint: ExampleGen's, of the files that it read.
        data_sha256: of all examples whatever their order; None if no edge model was made.
        served_sha256: of the served model's files, where its figures are not at hand.
        commit: of the sources, with `-dirty` where they differ; None outside of git.
        versions: of the interpreter and of the libraries that shape the results.
        platform: where the run was.
        artifacts: what the components made, in order.
    """

    data_fingerprint: str | None = None
    data_sha256: str | None = None
    served_sha256: str | None = None
    commit: str | None = None
    versions: dict[str, str] = {}
    platform: str | None = None
    artifacts: list[Artifact] = []


class Mistake(_Part):
    """A test digit that was not recognised.

    Attributes:
        png: the picture, 28x28, white on black: a PNG file in base64.
        label: the truth.
        predicted: the first choice.
        confidence: the first choice's probability.
        label_probability: the truth's.
    """

    png: str
    label: int
    predicted: int
    confidence: float
    label_probability: float


class Ink(_Part):
    """Histograms of the mean pixel, 0 to 1: the edges of the bins, and by split the counts."""

    edges: list[float]
    counts: dict[str, list[int]]


class Pictures(_Part):
    """What only a look at the digits themselves shows.

    Attributes:
        mean_pngs: the mean of each digit of the train split, as `Mistake.png`; None for one
            without examples.
        ink: how much of each picture is ink.
        mistakes: of the served model on the test split, the most confident first; at most as many
            as one can look at.
    """

    mean_pngs: list[str | None]
    ink: Ink
    mistakes: list[Mistake] = []


class Histogram(_Part):
    """The edges of the bins, and the shares in each of the reference and of the requests."""

    edges: list[float]
    reference: list[float]
    requests: list[float]


class FeatureDrift(_Part):
    """How a feature of the requests compares with the reference, see `pipeline.drift.comparison`.

    Attributes:
        feature: its name.
        reference: median in the reference; of the class mix the most frequent digit's share.
        requests: the same in the requests.
        distance: 0 to 1.
        p_value: corrected for all features.
        is_drift: it is below the false-alarm rate.
        histogram: of both.
    """

    feature: str
    reference: float
    requests: float
    distance: float
    p_value: float
    is_drift: bool
    histogram: Histogram


class Drift(_Part):
    """What `digits drift` found.

    Attributes:
        checked: when, ISO 8601 with a time zone.
        version: whose requests.
        digits: how many were compared.
        alpha: the false-alarm rate of the whole check, 0 to 1.
        skipped_records: of the log, of other versions or of no digits.
        drift: any feature has drifted.
        features: all that were compared.
    """

    checked: str
    version: int
    digits: int
    alpha: float
    skipped_records: int
    drift: bool
    features: list[FeatureDrift]

    @property
    def drifted(self) -> list[str]:
        """The names of the features that have drifted."""
        return [found.feature for found in self.features if found.is_drift]


class Facts(_Part):
    """All facts of a run."""

    run: Run | None = None
    data: Data | None = None
    recipe: dict[str, Any] | None = None
    seed: int | None = None
    tuning: dict[str, Any] | None = None
    model: ServedModel | None = None
    edge: Edge | None = None
    gates: dict[str, Gate] = {}
    pushed: Pushed | None = None
    components: list[Component] = []
    lineage: Lineage = Lineage()
    pictures: Pictures | None = None
    drift: Drift | None = None

    @property
    def refused(self) -> list[str]:
        """The gates that refused."""
        return [name for name, gate in self.gates.items() if not gate.blessed]


def wilson_interval(hits: int, total: int) -> Interval:
    """The 95 % interval of a share: Wilson, JASA 22 (1927).

    Args:
        hits: how many succeeded.
        total: of how many, at least one.
    """
    z = 1.959963984540054
    share, square = hits / total, z * z / total
    centre = (share + square / 2) / (1 + square)
    reach = z * math.sqrt(share * (1 - share) / total + square / total / 4) / (1 + square)
    return max(0.0, centre - reach), min(1.0, centre + reach)
