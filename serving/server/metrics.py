"""Prometheus metrics with TensorFlow Serving's names, which no client library can write.

Upstream's names begin with a colon and its counters lack the suffix `_total`.
"""

import bisect
import threading
from collections import defaultdict
from collections.abc import Sequence

from serving.server.status import Code

PATH = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"

#: Microseconds, 10 to about 20 minutes.
LATENCY_BUCKETS = [10 * 1.8**exponent for exponent in range(33)]
COUNT_BUCKETS = [float(2**exponent) for exponent in range(15)]


class Counter:
    """Sums by label values.

    Attributes:
        name: as Prometheus knows it.
    """

    def __init__(self, name: str, labels: Sequence[str]):
        self.name = PREFIX + name
        self._labels = tuple(labels)
        self._values: dict[tuple[str, ...], int] = defaultdict(int)
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: int = 1) -> None:
        """Adds to the sum of the label values."""
        with self._lock:
            self._values[labels] += amount

    def total(self) -> int:
        """Returns the sum over all label values."""
        return sum(self._values.values())

    def lines(self) -> list[str]:
        """Returns the metric in Prometheus's text format."""
        with self._lock:
            values = sorted(self._values.items())
        return [f"# TYPE {self.name} counter"] + [
            f"{self.name}{{{_pairs(self._labels, labels)}}} {value}" for labels, value in values
        ]


class Histogram:
    """Counts values in buckets, by label values."""

    def __init__(self, name: str, labels: Sequence[str], buckets: Sequence[float]):
        self._name = PREFIX + name
        self._labels = tuple(labels)
        self._buckets = list(buckets)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = defaultdict(float)
        self._lock = threading.Lock()

    def observe(self, value: float, *labels: str) -> None:
        """Counts a value."""
        with self._lock:
            counts = self._counts.get(labels)
            if counts is None:
                counts = self._counts[labels] = [0] * (len(self._buckets) + 1)
            counts[bisect.bisect_right(self._buckets, value)] += 1
            self._sums[labels] += value

    def lines(self) -> list[str]:
        """Returns the metric in Prometheus's text format."""
        lines = [f"# TYPE {self._name} histogram"]
        with self._lock:
            series = [(labels, list(counts)) for labels, counts in sorted(self._counts.items())]
            sums = dict(self._sums)
        limits = [f"{limit:g}" for limit in self._buckets] + ["+Inf"]
        for labels, counts in series:
            pairs = _pairs(self._labels, labels)
            total = 0
            for limit, count in zip(limits, counts, strict=True):
                total += count
                lines.append(f'{self._name}_bucket{{{pairs},le="{limit}"}} {total}')
            lines.append(f"{self._name}_sum{{{pairs}}} {sums[labels]:g}")
            lines.append(f"{self._name}_count{{{pairs}}} {total}")
        return lines


class Metrics:
    """All metrics of a server."""

    #: Names of models that are not served come from clients: beyond so many they share a label.
    MAX_UNKNOWN_MODELS = 100

    def __init__(self) -> None:
        self._requests = Counter("request_count", ("model_name", "status"))
        self._latency = Histogram(
            "request_latency", ("model_name", "API", "entrypoint"), LATENCY_BUCKETS
        )
        self._runtime = Histogram(
            "runtime_latency", ("model_name", "API", "runtime"), LATENCY_BUCKETS
        )
        self._example_counts = Histogram("request_example_counts", ("model",), COUNT_BUCKETS)
        self._example_total = Counter("request_example_count_total", ("model",))
        self.request_logs = Counter("request_log_count", ("model_name", "status_code"))
        self.warmup_latency = Histogram(
            "model_warmup_latency", ("model_path", "status"), LATENCY_BUCKETS
        )
        self._models: set[str] = set()

    def record_request(
        self, model: str, api: str, entrypoint: str, code: Code, seconds: float
    ) -> None:
        """Counts a finished request, and its latency if it succeeded."""
        if model not in self._models:
            if len(self._models) < self.MAX_UNKNOWN_MODELS:
                self._models.add(model)
            elif code is not Code.OK:
                model = "(other)"
        self._requests.add(model, code.name)
        if code is Code.OK:
            self._latency.observe(seconds * 1e6, model, api, entrypoint)

    def record_runtime(self, model: str, seconds: float) -> None:
        """Counts a run of a model."""
        self._runtime.observe(seconds * 1e6, model, "Predict", "TF1")

    def record_examples(self, model: str, count: int) -> None:
        """Counts the examples of a request."""
        self._example_counts.observe(count, model)
        self._example_total.add(model, amount=count)

    def totals(self) -> dict[str, int]:
        """Returns the sum of each counter, by the name that TensorFlow knows it by."""
        return {
            metric.name.replace(":", "/"): metric.total()
            for metric in vars(self).values()
            if isinstance(metric, Counter)
        }

    def page(self) -> str:
        """Returns all metrics in Prometheus's text format."""
        lines: list[str] = []
        for metric in vars(self).values():
            if isinstance(metric, Counter | Histogram):
                lines += metric.lines()
        return "\n".join(lines) + "\n"


def _pairs(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
