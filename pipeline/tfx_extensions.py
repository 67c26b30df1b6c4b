"""Spares `tfx.v1` an import: its extensions are for Google's cloud, and nothing here is."""

import sys
from types import ModuleType

_EXTENSIONS = "tfx.v1.extensions"


def skip_tfx_extensions() -> None:
    """Lets `tfx.v1` start without the client of Vertex AI, a quarter of the start-up time."""
    sys.modules.setdefault(_EXTENSIONS, ModuleType(_EXTENSIONS))
