"""Draws the pipeline's graph into its page: `python -m pipeline.diagram docs/architecture.md`.

What is drawn is what TFX's compiler makes of `pipeline.graph`, which is what a run executes.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tfx.dsl.compiler.compiler import Compiler
from tfx.proto.orchestration import pipeline_pb2

from components.recipes import RECIPES
from components.sources import locate
from pipeline import defaults
from pipeline.atomic import replace_file
from pipeline.config import Gates, PipelineConfig, RunRoot, Span, Tuning
from pipeline.graph import create_pipeline
from serving.errors import InputError

#: What stands between two such lines of a page is made anew.
_SECTION = re.compile(r"(<!-- drawn: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Node:
    """A component of the graph.

    Attributes:
        name: its id.
        module: that defines it.
        inputs: producer and output key of each artifact that it takes.
        gates: the components without whose blessing it does not run.
        outputs: artifact type of each output key.
    """

    name: str
    module: str
    inputs: frozenset[tuple[str, str]]
    gates: frozenset[str]
    outputs: dict[str, str]


def graph_of(config: PipelineConfig) -> list[Node]:
    """Returns the components of a configuration's graph, producers first."""
    compiled = Compiler().compile(create_pipeline(config))
    # The compiler sorts what does not depend on each other by chance.
    waiting = sorted(
        (_node(item.pipeline_node) for item in compiled.nodes), key=lambda node: node.name
    )
    nodes: list[Node] = []
    while waiting:
        done = {node.name for node in nodes}
        ready = next(n for n in waiting if {p for p, _ in n.inputs} | n.gates <= done)
        waiting.remove(ready)
        nodes.append(ready)
    return nodes


def _node(compiled: pipeline_pb2.PipelineNode) -> Node:
    inputs, gates = set(), set()
    for name, value in compiled.inputs.inputs.items():
        # A condition reads its gate's output by an input of this form.
        condition = name.startswith("_") and bool(compiled.inputs.conditionals)
        for channel in value.channels:
            if condition:
                gates.add(channel.producer_node_query.id)
            elif channel.producer_node_query.id:  # not the metadata store
                inputs.add((channel.producer_node_query.id, channel.output_key))
    return Node(
        name=compiled.node_info.id,
        module=compiled.node_info.type.name.rpartition(".")[0],
        inputs=frozenset(inputs),
        gates=frozenset(gates),
        outputs={
            key: output.artifact_spec.type.name.removeprefix("digits.")
            for key, output in sorted(compiled.outputs.outputs.items())
        },
    )


def mermaid(nodes: Sequence[Node]) -> str:
    """Returns a graph as a Mermaid flowchart; what a gate holds back stands in its box."""
    gates = frozenset().union(*(node.gates for node in nodes))
    lines = ["flowchart TB"]
    boxes = sorted({node.gates for node in nodes}, key=len)
    for depth, (outer, box) in enumerate(zip([frozenset[str](), *boxes], boxes, strict=False)):
        if not outer <= box:
            raise ValueError(f"gates {sorted(outer)} and {sorted(box)} do not nest")
        if box:
            names = sorted(box - outer)
            title = f"{' and '.join(names)} {'bless' if len(names) > 1 else 'blesses'}"
            lines.append(f'{"  " * depth}subgraph box{depth}["only if {title}"]')
        for node in nodes:
            if node.gates == box:
                shape = f'{{{{"{node.name}"}}}}' if node.name in gates else f'["{node.name}"]'
                lines.append(f"{'  ' * (depth + 1)}{node.name}{shape}")
    for depth in reversed(range(1, len(boxes))):
        lines.append(f"{'  ' * depth}end")
    lines += [
        f"  {producer} -- {keys} --> {consumer}" for producer, keys, consumer in _edges(nodes)
    ]
    return "\n".join(lines)


def _edges(nodes: Sequence[Node]) -> Iterator[tuple[str, str, str]]:
    """Producer, output keys and consumer, by consumer."""
    for node in nodes:
        for producer in sorted({name for name, _ in node.inputs}):
            keys = sorted(key for name, key in node.inputs if name == producer)
            yield producer, ", ".join(keys), node.name


def table(nodes: Sequence[Node]) -> str:
    """Returns a Markdown table of what each component takes and gives."""
    lines = ["| component | is | takes | gives |", "| --- | --- | --- | --- |"]
    for node in nodes:
        path = node.module.replace(".", "/") + ".py"
        code = "TFX's" if node.module.startswith("tfx.") else f"[`{path}`](../{path})"
        takes = "; ".join(f"{keys} of {p}" for p, keys, _ in _edges([node]))
        gives = "; ".join(f"{key}: `{kind}`" for key, kind in node.outputs.items())
        lines.append(f"| `{node.name}` | {code} | {takes} | {gives} |")
    return "\n".join(lines)


def differences(graph: Sequence[Node], others: Mapping[str, Sequence[Node]]) -> str:
    """Returns a Markdown table of the edges that other graphs have more and less."""
    lines = ["| with | there is | there is not |", "| --- | --- | --- |"]
    edges = set(_edges(graph))
    for name, nodes in others.items():
        more, less = set(_edges(nodes)) - edges, edges - set(_edges(nodes))
        cells = (
            "<br>".join(f"{p} → {c}: {keys}" for p, keys, c in sorted(s)) for s in (more, less)
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def drawn(page: str) -> str:
    """Returns a page with its drawn sections made anew.

    Args:
        page: Markdown with `<!-- drawn: NAME -->` and `<!-- end -->` lines around each; the names
            are `graph`, `components` and `differences`.
    """
    config = PipelineConfig(
        data=locate(defaults.DATA),
        root=RunRoot(Path("run").absolute()),
        recipe=RECIPES[defaults.RECIPE],
        seed=defaults.SEED,
        gates=Gates(),
    )
    span = Span(number=1, window=1, warm_start=True)
    graph = graph_of(config)
    others = {
        "`--tune`": graph_of(replace(config, tuning=Tuning(trials=1, epochs=1))),
        "spans, `{SPAN}` in `--data`": graph_of(replace(config, span=span)),
        "`digits compile`, on Kubeflow": graph_of(replace(config, baseline="pushed")),
    }
    sections = {
        "graph": f"```mermaid\n{mermaid(graph)}\n```",
        "components": table(graph),
        "differences": differences(graph, others),
    }
    return _SECTION.sub(lambda found: f"{found[1]}{sections[found[2]]}\n{found[3]}", page)


def main() -> None:
    """Draws into the page that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pipeline.diagram PAGE.md")
    path = Path(sys.argv[1])
    try:
        replace_file(path, drawn(path.read_text()))
    except (OSError, InputError) as error:
        sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main()
