"""What TFX hands to an executor's `Do`: artifacts by key, and execution properties."""

from typing import Any, TypeAlias

from tfx import types

Artifacts: TypeAlias = dict[str, list[types.Artifact]]
Properties: TypeAlias = dict[str, Any]
