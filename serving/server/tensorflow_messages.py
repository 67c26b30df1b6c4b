"""TensorFlow's Protobuf messages without TensorFlow, for a server that runs no SavedModel.

The modules of the messages lie in the package `tensorflow`, whose own import takes seconds and
hundreds of MiB; they need none of it.
"""

import importlib
import importlib.util
import sys
import types
from typing import Any

PACKAGE = "tensorflow"


class _Package(types.ModuleType):
    """Finds the package's modules, and gives way to the real one when that is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by Python itself
            raise AttributeError(name)
        if sys.modules.get(PACKAGE) is self:
            del sys.modules[PACKAGE]
        return getattr(importlib.import_module(PACKAGE), name)


def postpone_tensorflow() -> None:
    """Lets `import tensorflow` wait until one of its functions is used.

    Does nothing where TensorFlow has been imported, or is not installed.
    """
    spec = None if PACKAGE in sys.modules else importlib.util.find_spec(PACKAGE)
    if spec is not None and spec.submodule_search_locations is not None:
        package = _Package(PACKAGE)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[PACKAGE] = package
