"""Which spans to train on, and which earlier model to start from and to compare with."""

from typing import Any

from ml_metadata import MetadataStore
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


class LatestBlessedBeforeSpan(resolver.ResolverStrategy):
    """The latest blessed model that an earlier span than the newest has brought.

    What the newest span itself has brought does not count: running it again changes nothing.

    Inputs: `model`; `model_blessing`, of the Evaluator; `examples`.
    """

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[artifact.Artifact]]
    ) -> dict[str, list[artifact.Artifact]]:
        newest = max(map(span_of, input_dict["examples"]), default=0)
        models: dict[str, Any] = {
            "model": input_dict["model"],
            "model_blessing": [
                blessing
                for blessing in input_dict["model_blessing"]
                if 0 < int(blessing.get_int_custom_property(SPAN_PROPERTY)) < newest
            ],
        }
        latest = latest_blessed_model_strategy.LatestBlessedModelStrategy()
        return {**input_dict, **latest.resolve_artifacts(store, models)}
