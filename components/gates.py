"""Gate decisions as artifacts, each with its reasons in words."""

import json
import os
from collections.abc import Sequence

from tfx.dsl.io import fileio
from tfx.types import artifact

DECISION_FILE = "decision.json"
#: Of a data gate's decision: the URI of the examples that it is about.
EXAMPLES_PROPERTY = "examples_uri"
#: Of a model's blessing: the newest span that the model has seen; 0 where there are no spans.
SPAN_PROPERTY = "span"


class GateDecision(artifact.Artifact):
    """The decision of a gate that no TFX type describes: of data, or of an edge model."""

    TYPE_NAME = "digits.GateDecision"  # the form that Kubeflow asks for


def write_decision(blessing: artifact.Artifact, refusals: Sequence[str], passed: str) -> None:
    """Records a decision in an artifact and in its directory.

    Args:
        blessing: gets the custom properties that TFX's own blessings have, `blessed` (0 or 1),
            and `reason`.
        refusals: why the gate refuses; empty when it does not.
        passed: the reason when it does not.
    """
    blessed = not refusals
    reason = passed if blessed else "; ".join(refusals)
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_string_custom_property("reason", reason)
    fileio.makedirs(blessing.uri)
    with fileio.open(os.path.join(blessing.uri, DECISION_FILE), "w") as file:
        file.write(json.dumps({"blessed": blessed, "reason": reason}, indent=2))
