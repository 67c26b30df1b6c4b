"""Pushers: put a blessed version where servers and apps find it, whole or not at all.

TFX's own Pusher copies into the directory that a server polls, and takes the time of the push
for the version: pushing the same model twice makes two versions.
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.types import artifact, standard_artifacts
from tfx.utils import path_utils

from components.edge_evaluator import METRICS_FILE
from components.edge_exporter import EdgeModelArtifact
from components.examples import lowest_hashed, read_digits
from components.gates import GateDecision
from components.object_store import open_directory
from components.versions import SAVED_MODEL_FILE, publish, versions
from export.bundle import GOLDEN_DIGITS, assemble, seal
from export.description import DESCRIPTION_FILE, parse_description
from export.edge_model import DEFAULT_VARIANT
from export.model_card import CARD_FILE, bundle_facts, model_card

VERSION_PROPERTY = "pushed_version"
DESTINATION_PROPERTY = "pushed_destination"


@tfx.dsl.components.component
def EdgePusher(
    edge_model: tfx.dsl.components.InputArtifact[EdgeModelArtifact],
    evaluation: tfx.dsl.components.InputArtifact[standard_artifacts.ModelEvaluation],
    blessing: tfx.dsl.components.InputArtifact[GateDecision],
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    pushed_model: tfx.dsl.components.OutputArtifact[standard_artifacts.PushedModel],
    base_directory: tfx.dsl.components.Parameter[str],
) -> None:
    """Pushes the variants that passed, as a bundle, with their metrics in the description.

    Gives the run its version: the time, or that of the same models if they are there already.
    """
    _require_blessed(blessing)
    description = json.loads(Path(edge_model.uri, DESCRIPTION_FILE).read_text())
    evaluated = json.loads(Path(evaluation.uri, METRICS_FILE).read_text())
    metrics = evaluated["variants"]
    bundle = os.path.join(pushed_model.uri, "bundle")
    shutil.copytree(edge_model.uri, bundle)
    kept = []
    for variant in description["variants"]:
        refusals = metrics[variant["name"]].pop("refusals")
        if refusals:
            os.remove(os.path.join(bundle, variant["file"]))
        else:
            kept.append({**variant, "metrics": metrics[variant["name"]]})
    description["variants"] = kept
    description["metrics"] = metrics[DEFAULT_VARIANT]
    description["version"] = _version_of(description, base_directory)
    Path(bundle, DESCRIPTION_FILE).write_text(json.dumps(description, indent=2))
    card = model_card(bundle_facts(description, evaluated["stress"]))
    Path(bundle, CARD_FILE).write_text(card, encoding="utf-8")
    assemble(Path(bundle), *lowest_hashed(read_digits(examples, "test"), GOLDEN_DIGITS))
    seal(Path(bundle))
    version = str(description["version"])
    path = publish(bundle, base_directory, version, last=DESCRIPTION_FILE)
    _mark_pushed(pushed_model, version, path)


@tfx.dsl.components.component
def Pusher(
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    model_blessing: tfx.dsl.components.InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: tfx.dsl.components.InputArtifact[standard_artifacts.InfraBlessing],
    pushed_edge_model: tfx.dsl.components.InputArtifact[standard_artifacts.PushedModel],
    pushed_model: tfx.dsl.components.OutputArtifact[standard_artifacts.PushedModel],
    base_directory: tfx.dsl.components.Parameter[str],
) -> None:
    """Pushes a blessed served model under the version of its edge model."""
    _require_blessed(model_blessing)
    _require_blessed(infra_blessing)
    version = pushed_edge_model.get_string_custom_property(VERSION_PROPERTY)
    source = path_utils.serving_model_path(model.uri)
    path = publish(source, base_directory, version, last=SAVED_MODEL_FILE)
    _mark_pushed(pushed_model, version, path)


def _version_of(description: dict[str, Any], base_directory: str) -> int:
    newest = 0
    system, path = open_directory(base_directory)
    for newest in versions(base_directory, holding=DESCRIPTION_FILE):
        file = f"{path}/{newest}/{DESCRIPTION_FILE}"
        with system.open_input_stream(file) as stream:
            pushed = parse_description(stream.read(), file)
        if _hashes(pushed) == _hashes(description):
            return newest
    return max(int(time.time()), newest + 1)


def _hashes(description: dict[str, Any]) -> dict[str, str]:
    """What makes a version: the served model, and the variants made of it."""
    variants = {v["name"]: v["sha256"] for v in description.get("variants", [])}
    return {"served": description["source_saved_model_sha256"], **variants}


def _require_blessed(blessing: artifact.Artifact) -> None:
    # The graph's conditions see to this; a graph edited by mistake must not push.
    if blessing.get_int_custom_property("blessed") != 1:
        raise RuntimeError(f"{blessing.uri}: not blessed; nothing may be pushed")


def _mark_pushed(pushed_model: artifact.Artifact, version: str, path: str) -> None:
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property(VERSION_PROPERTY, version)
    pushed_model.set_string_custom_property(DESTINATION_PROPERTY, path)
