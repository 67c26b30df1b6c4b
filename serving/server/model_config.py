"""The configuration of the models: read from a file, checked with TensorFlow Serving's texts."""

import os
import re
from typing import TypeAlias, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2 as config_pb2

from serving.errors import InputError
from serving.files import read_bounded
from serving.server.status import Code, ServingError, invalid

ModelConfig: TypeAlias = config_pb2.ModelConfig
ModelServerConfig: TypeAlias = config_pb2.ModelServerConfig

#: Of a configuration file.
MAX_BYTES = 16 * 1024 * 1024

_Message = TypeVar("_Message", bound=Message)


def read_text_proto(path: str, message: _Message) -> _Message:
    """Fills a message from a file in Protobuf's text format.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    content = read_bounded(path, MAX_BYTES, "expected")
    try:
        return text_format.Parse(content.decode(), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: Error parsing text-format {message.DESCRIPTOR.full_name}: {error}"
        ) from error


def single_model(name: str, base_path: str) -> ModelServerConfig:
    """Returns the configuration of one model, of which the latest version is served."""
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=os.path.abspath(base_path), model_platform="tensorflow"
    )
    return config


def check_transition(old: ModelServerConfig, new: ModelServerConfig) -> None:
    """Checks a configuration, and that the server may change to it.

    Raises:
        ServingError: it is illegal.
    """
    if new.WhichOneof("config") == "custom_model_config":
        raise ServingError(
            Code.FAILED_PRECONDITION,
            "Cannot transition to requested config. It is only legal to transition from one "
            "ModelConfigList to another.",
        )
    platforms = {config.name: _platform(config) for config in old.model_config_list.config}
    seen: set[str] = set()
    for config in new.model_config_list.config:
        if config.name in seen:
            raise invalid(f"Illegal to list model {config.name} multiple times in config list")
        seen.add(config.name)
        if not os.path.isabs(config.base_path):
            if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", config.base_path):
                raise ServingError(
                    Code.UNIMPLEMENTED,
                    f"Model {config.name}: this server reads no {config.base_path}, only paths",
                )
            raise invalid(
                f"Expected model {config.name} to have an absolute path or URI; got "
                f"base_path()={config.base_path}"
            )
        platform = _platform(config)
        if platforms.get(config.name, platform) != platform:
            raise invalid(
                f"Illegal to change a model's platform. For model {config.name} platform was "
                f"{platforms[config.name]} and new platform requested is {platform}"
            )
        if platform != "tensorflow":
            raise invalid(f"Model {config.name} requests unsupported platform {platform}")


def _platform(config: ModelConfig) -> str:
    if config.model_type != config_pb2.MODEL_TYPE_UNSPECIFIED:
        if config.model_platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {config.name}"
            )
        if config.model_type != config_pb2.TENSORFLOW:
            raise invalid(
                f"ModelServerConfig::model_type choice {config.model_type} not supported."
            )
        return "tensorflow"
    if not config.model_platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {config.name}"
        )
    return config.model_platform
