"""TensorFlow Serving's model configuration file, `ModelServerConfig` in text format."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import text_format

from pipeline.atomic import replace_file
from serving.errors import InputError
from serving.server.model_config import ModelConfig, ModelServerConfig, read_text_proto

_HEADER = """\
# tensorflow.serving.ModelServerConfig, kept by `digits release`: the versions and labels of its
# model are overwritten; all else stays, but for comments.
"""


def read_config(path: Path, *, model: str, default: str) -> ModelServerConfig:
    """Reads the file, and adds the model if it lacks it.

    Args:
        path: of the file, which need not exist.
        model: the name of the model.
        default: where the server finds its versions, if the file does not say.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    config = ModelServerConfig()
    if path.exists():
        read_text_proto(str(path), config)
    if _entry(config, model) is None:
        config.model_config_list.config.add(
            name=model, base_path=default, model_platform="tensorflow"
        )
    return config


def base_path_of(path: Path, model: str) -> str | None:
    """Returns where a server that has the file looks for a model's versions, if it says so.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    entry = _entry(read_text_proto(str(path), ModelServerConfig()), model)
    return entry.base_path if entry is not None else None


def edge_config(path: Path, model: str, edge: Path) -> ModelServerConfig:
    """Returns the configuration of a server of the edge models of the versions that a file names.

    Args:
        path: of the file, which has the model.
        model: its name; other models are left out.
        edge: directory of the edge models' versions.

    Raises:
        InputError: the file cannot be read, or a version has no edge model.
    """
    entry = _entry(read_text_proto(str(path), ModelServerConfig()), model)
    assert entry is not None, f"base_path_of found {model}"
    for number in entry.model_version_policy.specific.versions:
        if not (edge / str(number)).is_dir():
            raise InputError(f"{edge / str(number)}: no edge model, but {path} has its version")
    entry.base_path = str(edge)
    config = ModelServerConfig()
    config.model_config_list.config.append(entry)
    return config


def with_base_path(
    config: ModelServerConfig, model: str, base_path: str | None
) -> ModelServerConfig:
    """Returns the configuration with another place of a model's versions; None: with the same."""
    changed = ModelServerConfig()
    changed.CopyFrom(config)
    entry = _entry(changed, model)
    assert entry is not None, f"read_config adds {model}"
    if base_path is not None:
        entry.base_path = base_path
    return changed


def with_versions(
    config: ModelServerConfig, model: str, versions: Iterable[int], labels: Mapping[str, int]
) -> ModelServerConfig:
    """Returns the configuration with exactly these versions and labels of a model."""
    changed = ModelServerConfig()
    changed.CopyFrom(config)
    entry = _entry(changed, model)
    assert entry is not None, f"read_config adds {model}"
    entry.model_version_policy.specific.versions[:] = sorted(versions)
    entry.version_labels.clear()
    entry.version_labels.update(labels)
    return changed


def write_config(path: Path, config: ModelServerConfig) -> None:
    """Writes the file in one step.

    Raises:
        OSError: it cannot be written.
    """
    replace_file(path, _HEADER + text_format.MessageToString(config))


def _entry(config: ModelServerConfig, model: str) -> ModelConfig | None:
    for entry in config.model_config_list.config:
        if entry.name == model:
            return entry
    return None
