"""Everything that a run can be told, typed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from components.recipes import Recipe
from components.sources import Location
from pipeline import defaults

PIPELINE_NAME = "digits"


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Bounds that a model has to meet on the test split.

    Attributes:
        min_accuracy: floor of the served model's accuracy.
        min_recall: floor of each digit's recall, by the served and by each edge model.
        max_calibration_error: bound of the mean distance of the served model's confidence from
            its accuracy.
        min_edge_accuracy: floor of an edge model's accuracy.
        max_edge_disagreement: highest share of digits that an edge model labels unlike the
            served model.
    """

    min_accuracy: float = defaults.MIN_ACCURACY
    min_recall: float = defaults.MIN_RECALL
    max_calibration_error: float = defaults.MAX_CALIBRATION_ERROR
    min_edge_accuracy: float = defaults.MIN_ACCURACY
    max_edge_disagreement: float = defaults.MAX_EDGE_DISAGREEMENT


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A search before the training.

    Attributes:
        trials: how many sets of choices to try.
        epochs: of each trial.
    """

    trials: int
    epochs: int


@dataclass(frozen=True, kw_only=True)
class Span:
    """One part of data that keeps arriving.

    Attributes:
        number: of the span to read.
        window: how many of the newest spans to train on.
        warm_start: start from the weights of the latest blessed model.
    """

    number: int
    window: int
    warm_start: bool


@dataclass(frozen=True)
class RunRoot:
    """Where a pipeline keeps what it makes."""

    path: Path

    @property
    def serving(self) -> Path:
        """Versions of the served model, as TF Serving polls them."""
        return self.path / "serving" / PIPELINE_NAME

    @property
    def edge(self) -> Path:
        """Versions of the edge model."""
        return self.path / "edge"

    @property
    def artifacts(self) -> Path:
        """The artifacts of all components: the pipeline root."""
        return self.path / "artifacts"

    @property
    def metadata(self) -> Path:
        """The metadata store, SQLite."""
        return self.path / "metadata.sqlite"

    @property
    def releases(self) -> Path:
        """Which versions were released when."""
        return self.path / "releases.json"

    @property
    def server_config(self) -> Path:
        """TF Serving's model configuration, from the first release on."""
        return self.path / "serving" / "model.config"

    @property
    def summary(self) -> Path:
        """The figures of the last run."""
        return self.path / "summary.json"

    @property
    def reports(self) -> Path:
        """A directory a run: what people look at."""
        return self.path / "report"

    @property
    def drift(self) -> Path:
        """The last drift check, and what versions' requests are compared with."""
        return self.path / "drift"

    @property
    def edge_benchmark(self) -> Path:
        """Where `digits bench-edge` leaves its tables, unless told otherwise."""
        return self.path / "bench-edge"

    @property
    def log(self) -> Path:
        """What the libraries wrote to standard error."""
        return self.path / "run.log"


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """A run's configuration.

    Attributes:
        data: the input base and file pattern of the digits.
        root: the run root.
        span: which span of the data, where it comes in spans.
        recipe: how to train.
        seed: of every random choice.
        gates: what the models have to meet.
        tuning: a search for this data's best choices; None for the recipe's own.
        baseline: what a new model is compared with: the latest blessed one of the metadata
            store, or the latest pushed one.
        enable_cache: take unchanged components' outputs from the last runs.
        beam_pipeline_args: Beam's options, its runner among them; empty for its defaults.
    """

    data: Location
    root: RunRoot
    recipe: Recipe
    seed: int
    gates: Gates
    tuning: Tuning | None = None
    baseline: Literal["blessed", "pushed"] = "blessed"
    span: Span | None = None
    enable_cache: bool = True
    beam_pipeline_args: list[str] = field(default_factory=list)
