"""`digits bench-edge`: size, load time, latency and memory of the variants and other engines."""

import json
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from export.description import read_description
from export.edge_model import VARIANT_FILE
from export.engines import Engine, convert_to_onnx, quantise_onnx, serve
from serving.errors import InputError

WARM_UP = 50
REFERENCE, DEFAULT = "LiteRT float32", "LiteRT uint8"
ONNX_FLOAT, ONNX_INT8 = "onnxruntime float32", "onnxruntime int8"
MAX_BYTES = 105_000
MIN_SPEED_UP = 2.0


def benchmark(
    edge: Path, served: Path, images: np.ndarray, *, rounds: int, calls: int
) -> dict[str, Any]:
    """Measures all engines in interleaved rounds, each engine in a process of its own.

    Args:
        edge: a pushed version of the edge model.
        served: the pushed version of the served model.
        images: uint8 [n, 28, 28], which all engines classify one by one.
        rounds: how often each engine has its turn.
        calls: in a turn.

    Returns:
        The `engines`, figures of each; the `skipped` ones, with the reason; the `targets`.

    Raises:
        InputError: there is no bundle at `edge`.
    """
    try:
        variants = read_description(edge)["variants"]
    except (OSError, KeyError) as error:
        raise InputError(f"{edge}: no pushed variants; run `digits run` first") from error
    with tempfile.TemporaryDirectory() as directory:
        engines, skipped = _engines(edge, served, variants, images, Path(directory))
        workers = {engine: _Worker(engine, images) for engine in engines}
        try:
            loaded = {engine: worker.receive() for engine, worker in workers.items()}
            for engine, answer in loaded.items():
                if isinstance(answer, str):
                    skipped[engine.name] = answer
            running = {e: w for e, w in workers.items() if not isinstance(loaded[e], str)}
            for worker in running.values():
                worker.call(WARM_UP)
            times: dict[Engine, list[np.ndarray]] = {engine: [] for engine in running}
            for _ in range(rounds):
                for engine, worker in running.items():
                    times[engine].append(worker.call(calls))
            memory = {engine: worker.call(None) for engine, worker in running.items()}
        finally:
            for worker in workers.values():
                worker.stop()
        sizes = {engine: _bytes(engine.path) for engine in running}
    if not any(engine.name == REFERENCE for engine in running):
        raise InputError(f"{edge}: float32, which all are compared with, is not among its variants")
    (reference,) = (engine for engine in running if engine.name == REFERENCE)
    accuracies = {variant["name"]: variant["metrics"]["accuracy"] for variant in variants}
    figures = [
        {
            "name": engine.name,
            "bytes": sizes[engine],
            "accuracy": accuracies.get(engine.variant) if engine.variant else None,
            "load_milliseconds": loaded[engine]["load_seconds"] * 1e3,
            **_latency(times[engine], times[reference]),
            "peak_memory_mib": memory[engine],
            "labels_unlike_reference": sum(
                a != b
                for a, b in zip(loaded[engine]["labels"], loaded[reference]["labels"], strict=True)
            ),
        }
        for engine in running
    ]
    result = {
        "version": edge.name,
        "images": len(images),
        "rounds": rounds,
        "calls": calls,
        "engines": figures,
        "skipped": skipped,
    }
    return {**result, "targets": _targets(figures, times)}


def _engines(
    edge: Path,
    served: Path,
    variants: Sequence[dict[str, Any]],
    images: np.ndarray,
    directory: Path,
) -> tuple[list[Engine], dict[str, str]]:
    """Returns the engines, and why some that were wanted are missing."""
    engines = [
        Engine(f"LiteRT {v['name']}", "litert", edge / v["file"], v["name"]) for v in variants
    ]
    engines += [
        Engine("TensorFlow signature", "signature", served),
        Engine("TensorFlow tf.function", "function", served),
    ]
    skipped = {}
    onnx, quantised = directory / "float32.onnx", directory / "int8.onnx"
    try:
        convert_to_onnx(edge / VARIANT_FILE.format("float32"), onnx)
        engines.append(Engine(ONNX_FLOAT, "onnxruntime", onnx))
        quantise_onnx(onnx, quantised, images)
        engines.append(Engine(ONNX_INT8, "onnxruntime", quantised))
    except (RuntimeError, ImportError) as error:
        for name in {ONNX_FLOAT, ONNX_INT8} - {engine.name for engine in engines}:
            skipped[name] = str(error)
    return engines, skipped


class _Worker:
    """An engine's process, seen from here."""

    def __init__(self, engine: Engine, images: np.ndarray):
        context = multiprocessing.get_context("spawn")  # a fork would share our memory
        self._name = engine.name
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, engine, images), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError as error:
            raise InputError(
                f"{self._name}: its process ended; was there enough memory?"
            ) from error

    def call(self, command: int | None) -> Any:
        self._connection.send(command)
        return self.receive()

    def stop(self) -> None:
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def _latency(times: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> dict[str, float]:
    """Percentiles of all calls, and the speed-up of the medians, round by round."""
    every = np.concatenate(times) / 1e3
    return {
        "p50_microseconds": float(np.percentile(every, 50)),
        "p99_microseconds": float(np.percentile(every, 99)),
        "speed_up": _speed_up(times, reference),
    }


def _speed_up(times: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """The median over the rounds, in which what else the machine does is alike for both."""
    pairs = zip(times, reference, strict=True)
    return statistics.median(float(np.median(other) / np.median(own)) for own, other in pairs)


def _targets(
    figures: Sequence[dict[str, Any]], times: dict[Engine, list[np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """What we want of the default variant, what it has, and whether that is enough."""
    default = next((f for f in figures if f["name"] == DEFAULT), None)
    if default is None:
        return {}
    by_name = {engine.name: measured for engine, measured in times.items()}
    targets = {
        f"{DEFAULT}, bytes, at most": {
            "target": MAX_BYTES,
            "measured": default["bytes"],
            "met": default["bytes"] <= MAX_BYTES,
        }
    }
    for other in (REFERENCE, ONNX_FLOAT):
        if other in by_name:
            speed_up = _speed_up(by_name[DEFAULT], by_name[other])
            targets[f"{DEFAULT}, times as fast as {other}, at least"] = {
                "target": MIN_SPEED_UP,
                "measured": round(speed_up, 2),
                "met": speed_up >= MIN_SPEED_UP,
            }
    return targets


def markdown(result: dict[str, Any]) -> str:
    """Returns the result as a table, with what was left out and the targets below it."""
    lines = [
        f"One thread, one image a call; {result['rounds']} interleaved rounds of "
        f"{result['calls']} calls. Peak memory is the process's, with Python and NumPy.",
        "",
        "| engine | bytes | accuracy | load ms | p50 µs | p99 µs | speed-up | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["engines"]:
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
        lines.append(
            f"| {row['name']} | {row['bytes']:,} | {accuracy} | {row['load_milliseconds']:.1f} | "
            f"{row['p50_microseconds']:.1f} | {row['p99_microseconds']:.1f} | "
            f"{row['speed_up']:.2f} | {row['peak_memory_mib']:.0f} |"
        )
    lines += [
        "",
        f"Speed-up: against {REFERENCE}, the median of the rounds' ratios of medians.",
        "",
    ]
    lines += [f"- skipped: {name}: {reason}" for name, reason in result["skipped"].items()]
    for name, target in result["targets"].items():
        verdict = "met" if target["met"] else "NOT met"
        lines.append(f"- {name} {target['target']:,}: {target['measured']:,}, {verdict}")
    return "\n".join(lines) + "\n"


def write(result: dict[str, Any], directory: Path) -> list[Path]:
    """Writes `bench-edge.md`, `.json` and `.png`; returns their paths.

    Raises:
        InputError: the directory cannot be written.
    """
    paths = [directory / f"bench-edge.{suffix}" for suffix in ("md", "json", "png")]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as beside:
            made = [Path(beside, path.name) for path in paths]
            made[0].write_text(markdown(result), encoding="utf-8")
            made[1].write_text(json.dumps(result, indent=2))
            _plot(result["engines"], made[2])
            for path, new in zip(paths, made, strict=True):
                os.replace(new, path)
    except OSError as error:
        raise InputError(f"--out {directory}: {error.strerror}") from error
    return paths


def _plot(engines: Sequence[dict[str, Any]], path: Path) -> None:
    """Latency, from the median to the 99th percentile, on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.4 * len(engines) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = [row["name"] for row in engines]
    medians = [row["p50_microseconds"] for row in engines]
    tails = [row["p99_microseconds"] - row["p50_microseconds"] for row in engines]
    # Points, not bars: a logarithmic axis has no zero for a bar to start from.
    axes.errorbar(medians, names, xerr=[[0] * len(tails), tails], fmt="o", capsize=3)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [10, 20, 50, 100, 200, 500, 1000], [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.set_xlabel("µs an image, one thread: p50 (dot) to p99 (whisker)")
    figure.savefig(path)


def run(edge: Path, served: Path, out: Path, *, rounds: int, calls: int) -> None:
    """Measures on sample digits, prints the table and writes it."""
    import matplotlib.figure  # noqa: F401  # if it is missing, say so before the measuring

    from components.sources import HEIGHT, WIDTH, locate, open_source

    batches = open_source(locate("sample")).batches("all")
    images = np.concatenate([batch for batch, _ in batches])[::50].reshape(-1, HEIGHT, WIDTH)
    result = benchmark(edge, served, images, rounds=rounds, calls=calls)
    print(markdown(result))
    for path in write(result, out):
        print(path)
