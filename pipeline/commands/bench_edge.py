"""`digits bench-edge`: its options."""

import argparse
from typing import Any

from serving.argument_types import path, positive
from serving.quiet import stderr_to


def add_bench_edge(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--root` and `--verbose`.
    """
    bench_edge = commands.add_parser(
        "bench-edge",
        parents=parents,
        help="measure the edge model's variants beside TensorFlow and onnxruntime",
    )
    bench_edge.add_argument("--rounds", type=positive, default=20, metavar="N", help="(20)")
    bench_edge.add_argument(
        "--calls", type=positive, default=500, metavar="N", help="of each engine a round (500)"
    )
    bench_edge.add_argument("--out", type=path, metavar="DIR", help="(default: ROOT/bench-edge)")
    bench_edge.set_defaults(command=_bench_edge)


def _bench_edge(options: argparse.Namespace) -> None:
    from pipeline.config import RunRoot
    from pipeline.release.current import current_version

    root = RunRoot(options.root)
    edge, served = current_version(root, root.edge), current_version(root, root.serving)
    with stderr_to(None, verbose=options.verbose):
        from export import benchmark

        out = options.out or root.edge_benchmark
        benchmark.run(edge, served, out, rounds=options.rounds, calls=options.calls)
