"""What made a run's models: data, code, libraries, and the artifacts in between."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.description import DESCRIPTION_FILE
from pipeline.config import RunRoot
from pipeline.fingerprint import LIBRARIES
from pipeline.local_runner import NodeRun

#: With those that a component's fingerprint covers, what shapes the results.
_OTHER_LIBRARIES = ("ai-edge-litert", "numpy", "tensorflow-data-validation")


def lineage(nodes: Mapping[str, NodeRun], root: RunRoot) -> dict[str, Any]:
    """Returns the lineage of a run as JSON values: see `export.facts.Lineage`."""
    examples = nodes["ExampleGen"].outputs["examples"]
    exported = nodes["TFLiteExporter"].outputs
    data_sha256 = None
    if exported:
        description = json.loads(Path(exported["edge_model"].uri, DESCRIPTION_FILE).read_text())
        data_sha256 = description["data_sha256"]
    return {
        "data_fingerprint": examples.get_string_custom_property("input_fingerprint"),
        "data_sha256": data_sha256,
        "commit": commit(Path(__file__).parent.parent),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in LIBRARIES + _OTHER_LIBRARIES},
        },
        "platform": platform.platform(),
        "artifacts": [
            {
                "component": node.name,
                "output": key,
                "uri": os.path.relpath(output.uri, root.path),
                "code_sha256": node.code_sha256,
            }
            for node in nodes.values()
            for key, output in node.outputs.items()
            if node.name != "LatestBlessedModel"  # which made nothing
        ],
    }


def commit(sources: Path) -> str | None:
    """Returns the commit of a directory, with `-dirty` if files differ; None outside of git."""
    if not (sources / ".git").exists() or not shutil.which("git"):
        return None
    command = ["git", "-C", str(sources), "describe", "--always", "--dirty", "--abbrev=12"]
    # A repository without a commit, or of another owner, has none to tell.
    done = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True)
    return done.stdout.strip() or None
