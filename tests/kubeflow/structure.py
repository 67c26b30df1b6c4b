"""The structure of a compiled package, without what may change.

`python -m tests.kubeflow.structure` writes the file that the test compares with.
"""

import re
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("structure.yaml")


def structure(spec: dict[str, Any]) -> dict[str, Any]:
    """Parameters with types and defaults, and for each task what it needs and makes."""
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    return {
        "parameters": {
            name: {key: value for key, value in definition.items() if key != "description"}
            for name, definition in inputs.items()
        },
        "tasks": {name: _task(spec, task) for name, task in spec["root"]["dag"]["tasks"].items()},
    }


def _task(spec: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    component = spec["components"][task["componentRef"]["name"]]
    outputs = component.get("outputDefinitions", {}).get("artifacts", {})
    parameters = task.get("inputs", {}).get("parameters", {})
    artifacts = task.get("inputs", {}).get("artifacts", {})
    condition = task.get("triggerPolicy", {}).get("condition", "")
    found = {
        "after": sorted(task.get("dependentTasks", [])),
        "if_blessed": sorted(
            artifacts[key]["taskOutputArtifact"]["producerTask"]
            for key in re.findall(
                r"\['([^']+)'\]\.artifacts\[0\]\.metadata\['blessed'\]", condition
            )
        ),
        "from_run": {
            name: value["componentInputParameter"]
            for name, value in parameters.items()
            if "componentInputParameter" in value
        },
        "inputs": {
            name: "{producerTask}.{outputArtifactKey}".format(**value["taskOutputArtifact"])
            for name, value in artifacts.items()
        },
        "outputs": {
            name: yaml.safe_load(value["artifactType"]["instanceSchema"])["title"]
            for name, value in outputs.items()
        },
    }
    return {key: value for key, value in found.items() if value}


if __name__ == "__main__":
    from pipeline.kubeflow.compile import compile_pipeline, default_config

    (made,) = compile_pipeline(default_config(), image="digits", models="/models")
    FILE.write_text(yaml.safe_dump(structure(made)))
