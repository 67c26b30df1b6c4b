"""The curated schema, kept in this repository, as an artifact."""

import os
from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

SCHEMA_FILE = Path(__file__).with_name("schema.pbtxt")


@tfx.dsl.components.component
def CuratedSchema(
    text: tfx.dsl.components.Parameter[str],
    schema: tfx.dsl.components.OutputArtifact[standard_artifacts.Schema],
) -> None:
    """Publishes a schema.

    TFX's ImportSchemaGen takes a path, and its cache does not see when the file changes; this
    takes the text itself.

    Args:
        text: a `tensorflow_metadata.Schema` as text proto.
    """
    with fileio.open(os.path.join(schema.uri, "schema.pbtxt"), "w") as file:
        file.write(text)
