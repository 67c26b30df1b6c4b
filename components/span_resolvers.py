"""Which spans to train on, and which earlier model to start from and to compare with."""

from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Event
from tfx.components.example_gen import utils
from tfx.dsl.components.common import resolver
from tfx.dsl.input_resolution.strategies import latest_blessed_model_strategy
from tfx.types import artifact

from components.gates import EXAMPLES_PROPERTY, SPAN_PROPERTY


def span_of(examples: artifact.Artifact) -> int:
    """Returns the span that an Examples artifact holds; 0 where the data has none."""
    return int(examples.get_int_custom_property(utils.SPAN_PROPERTY_NAME))


class RollingWindow(resolver.ResolverStrategy):
    """The newest spans whose data was blessed.

    TFX's `SpanRangeStrategy` would take refused spans too, and a span twice that was read twice.

    Inputs: `examples`; `blessing`, of the data gate.

    Args:
        spans: how many.
    """

    def __init__(self, spans: int):
        self._spans = spans

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[artifact.Artifact]]
    ) -> dict[str, list[artifact.Artifact]]:
        blessed = {
            blessing.get_string_custom_property(EXAMPLES_PROPERTY)
            for blessing in input_dict["blessing"]
            if blessing.get_int_custom_property("blessed") == 1
        }
        by_span = {
            span_of(examples): examples
            for examples in sorted(input_dict["examples"], key=lambda examples: examples.id)
            if examples.uri in blessed and span_of(examples)
        }
        newest = sorted(by_span, reverse=True)[: self._spans]
        return {**input_dict, "examples": [by_span[span] for span in newest]}


class LatestBlessed(resolver.ResolverStrategy):
    """The latest model that all gates have blessed, and so was pushed.

    TFX's `LatestBlessedModelStrategy` asks for the Evaluator's blessing alone: a model that the
    edge gate has refused would be what the next one starts from and is held against.

    Inputs: `model`; `model_blessing`, of the Evaluator; `pushed_model`, of the Pusher.
    """

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[artifact.Artifact]]
    ) -> dict[str, list[artifact.Artifact]]:
        used = _used_for(store, input_dict["pushed_model"])
        models: dict[str, Any] = {
            "model": [model for model in input_dict["model"] if model.id in used],
            "model_blessing": self._blessings(input_dict),
        }
        latest = latest_blessed_model_strategy.LatestBlessedModelStrategy()
        return {**input_dict, **latest.resolve_artifacts(store, models)}

    def _blessings(self, input_dict: dict[str, list[artifact.Artifact]]) -> list[artifact.Artifact]:
        return input_dict["model_blessing"]


class LatestBlessedBeforeSpan(LatestBlessed):
    """The same, of those that an earlier span than the newest has brought.

    What the newest span itself has brought does not count: running it again changes nothing.

    Inputs: those of `LatestBlessed`; `examples`.
    """

    def _blessings(self, input_dict: dict[str, list[artifact.Artifact]]) -> list[artifact.Artifact]:
        newest = max(map(span_of, input_dict["examples"]), default=0)
        return [
            blessing
            for blessing in input_dict["model_blessing"]
            if 0 < int(blessing.get_int_custom_property(SPAN_PROPERTY)) < newest
        ]


def _used_for(store: MetadataStore, outputs: list[artifact.Artifact]) -> set[int]:
    """The ids of all artifacts that went into the executions which made these."""
    if not outputs:
        return set()
    made = store.get_events_by_artifact_ids([output.id for output in outputs])
    executions = {event.execution_id for event in made if event.type == Event.OUTPUT}
    events = store.get_events_by_execution_ids(sorted(executions))
    return {event.artifact_id for event in events if event.type == Event.INPUT}
