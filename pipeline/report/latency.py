"""The speed of the edge variants, where `digits bench-edge` has measured it."""

import copy
import json
from typing import Any

from pipeline.config import RunRoot

BENCHMARK_FILE = "bench-edge.json"
ENGINE = "LiteRT {}"


def with_latency(values: dict[str, Any], root: RunRoot) -> dict[str, Any]:
    """Returns a run's facts with the benchmark's median times, if it was of the same version.

    Args:
        values: of `export.facts.Facts`, as JSON values.
        root: of the run.
    """
    path = root.edge_benchmark / BENCHMARK_FILE
    if not values.get("edge") or not values.get("pushed") or not path.exists():
        return values
    benchmark = json.loads(path.read_text())
    if str(benchmark.get("version")) != values["pushed"]["version"]:
        return values
    medians = {row["name"]: row["p50_microseconds"] for row in benchmark["engines"]}
    values = copy.deepcopy(values)
    for name, variant in values["edge"]["variants"].items():
        variant["latency_us"] = medians.get(ENGINE.format(name))
    return values
