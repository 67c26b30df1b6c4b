"""Baseline: the served model that a new one is compared with, found where it was pushed.

TFX's Resolver asks the metadata store for the latest blessed model. Kubeflow Pipelines cannot: its
compiler refuses resolvers.
"""

import os

from tfx import v1 as tfx
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.object_store import copy_in
from components.versions import SAVED_MODEL_FILE, versions


@tfx.dsl.components.component
def LatestPushedModel(
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    base_directory: tfx.dsl.components.Parameter[str],
) -> None:
    """Gives the newest version below a directory, or an empty artifact where there is none."""
    found = versions(base_directory, holding=SAVED_MODEL_FILE)
    if found:
        source = os.path.join(base_directory, str(found[-1]))
        copy_in(source, path_utils.serving_model_dir(model.uri))
