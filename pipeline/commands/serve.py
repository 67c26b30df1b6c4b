"""`digits serve`: its options, and what it serves."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import InputError
from serving.server.command import add_flags, serve

if TYPE_CHECKING:
    from pipeline.config import RunRoot
    from serving.server.model_config import ModelServerConfig


def add_serve(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--root` and `--verbose`.
    """
    parser = commands.add_parser(
        "serve",
        parents=parents,
        help="serve the pushed model with TensorFlow Serving's protocol",
    )
    parser.add_argument(
        "--backend",
        choices=("tensorflow", "litert"),
        default="tensorflow",
        help="the served or the edge model (default: tensorflow)",
    )
    add_flags(parser, model_name="digits", rest_api_port=8501)
    parser.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> None:
    from pipeline.config import RunRoot
    from serving.predict import latest_version

    root = RunRoot(options.root)
    litert = options.backend == "litert"
    config = None
    if not (options.model_config_file or options.model_base_path):
        options.model_base_path = str(root.edge if litert else root.serving)
        latest_version(Path(options.model_base_path))  # says what to do if there is none
        if root.server_config.exists():
            config = _choose_releases(options, root, litert=litert)
    serve(options, litert=litert, config=config, verbose=options.verbose)


def _choose_releases(
    options: argparse.Namespace, root: "RunRoot", *, litert: bool
) -> "ModelServerConfig | None":
    """Lets the options name what `digits release` has chosen, or returns it for edge models."""
    from pipeline.release.server_config import base_path_of, edge_config

    base_path = base_path_of(root.server_config, options.model_name)
    if base_path != str(root.serving.absolute()):
        raise InputError(
            f"{root.server_config}: is for a server that finds {options.model_name} in "
            f"{base_path}; name what to serve: --model_config_file or --model_base_path"
        )
    options.allow_version_labels_for_unavailable_models = True  # nothing is loaded yet
    if litert:
        return edge_config(root.server_config, options.model_name, root.edge.absolute())
    options.model_config_file = str(root.server_config)
    return None
