"""The flags of the model server, and the executable `tensorflow_model_server`.

Nothing here imports TensorFlow, so that usage errors are quick.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from serving.argument_types import boolean, port, positive, seconds
from serving.errors import InputError
from serving.quiet import stderr_to

if TYPE_CHECKING:
    from serving.server.model_config import ModelServerConfig

PROGRAM = "tensorflow_model_server"

#: Flags of upstream that have nothing to act on here; a warning says so.
IGNORED_FLAGS = {
    "rest_api_num_threads": "one event loop answers REST",
    "grpc_max_threads": "one event loop answers gRPC",
    "num_load_threads": "versions load one after the other, in a thread of their own",
    "num_unload_threads": "versions unload in threads of their own",
    "flush_filesystem_caches": "the operating system's cache is left alone",
    "per_process_gpu_memory_fraction": "there is no GPU",
    "remove_unused_fields_from_bundle_metagraph": "always so",
    "num_tflite_pools": "interpreters are made as they are needed",
    "num_tflite_interpreters_per_pool": "interpreters are made as they are needed",
    "enable_grpc_healthcheck_service": "always so",
    "enable_profiler": "there is no profiler service",
    "skip_initialize_tpu": "there is no TPU",
    "xla_cpu_compilation_enabled": "not supported",
    "xla_gpu_compilation_enabled": "not supported",
}
#: Flags of upstream without which the server would not do what it was told to.
REFUSED_FLAGS = {
    "use_alts_credentials": "use --ssl_config_file",
    "platform_config_file": "there is only the platform `tensorflow`",
    "thread_pool_factory_config_file": "there are no thread pool factories",
    "tensorflow_session_config_file": "use --tensorflow_intra_op_parallelism",
    "mixed_precision": "there is only full precision",
    "enable_per_model_batching_parameters": "use --batching_parameters_file",
    "enable_signature_method_name_check": "signatures are checked by their tensors",
}


def add_flags(parser: argparse.ArgumentParser, *, model_name: str, rest_api_port: int) -> None:
    """Adds the server's flags, each spelt with underscores or dashes.

    Args:
        parser: takes them.
        model_name: the default.
        rest_api_port: the default; 0 for no REST API.
    """

    def add(name: str, kind: Any = str, default: Any = None, text: str | None = None) -> None:
        names = [f"--{name}"] + ([f"--{name.replace('_', '-')}"] if "_" in name else [])
        keywords: dict[str, Any] = {"dest": name, "type": kind, "default": default}
        if kind is boolean:
            keywords |= {"nargs": "?", "const": True}
        note = f" (default: {default})" if text and default not in (None, "", False) else ""
        parser.add_argument(
            *names, metavar="X", help=argparse.SUPPRESS if text is None else text + note, **keywords
        )

    add("host", default="127.0.0.1", text="address to bind")
    add("port", port, 8500, "of gRPC; 0: none")
    add("grpc_socket_path", text="Unix socket of gRPC")
    add("rest_api_port", port, rest_api_port, "of REST; 0: none")
    add("rest_api_timeout_in_ms", positive, 30_000, "wait for the model")
    add("rest_api_enable_cors_support", boolean, False, "let pages of any origin read answers")
    add("max_request_bytes", positive, 64 << 20, "of a gRPC message or an HTTP body")
    add("model_name", default=model_name, text="of the model in --model_base_path")
    add("model_base_path", text="directory of numbered versions")
    add("model_config_file", text="ModelServerConfig as text: several models, policies, labels")
    add("model_config_file_poll_wait_seconds", seconds, 0.0, "read it again so often; 0: never")
    add("file_system_poll_wait_seconds", seconds, 1.0, "look for versions so often; 0: once")
    add("max_num_load_retries", int, 5, "of a version that cannot be loaded")
    add("load_retry_interval_micros", int, 60_000_000, "between them")
    add(
        "allow_version_labels_for_unavailable_models",
        boolean,
        False,
        "labels may name versions that are not loaded yet",
    )
    add("enable_batching", boolean, True, "let requests share runs")
    add("batching_parameters_file", text="BatchingParameters as text")
    add("monitoring_config_file", text="MonitoringConfig as text: Prometheus metrics")
    add("ssl_config_file", text="SSLConfig as text: TLS of gRPC")
    add("grpc_channel_arguments", default="", text="comma-separated NAME=VALUE")
    add("prefer_tflite_model", boolean, False, "run model.tflite where there is one")
    add("saved_model_tags", default="serve", text="comma-separated")
    add("enable_model_warmup", boolean, True, "run assets.extra/tf_serving_warmup_requests")
    add("num_request_iterations_for_warmup", int, 1, "runs of each warm-up request")
    add("tensorflow_session_parallelism", int, 0, "threads of TensorFlow; 0: see below")
    add("tensorflow_intra_op_parallelism", int, 0, "threads of an operation; 0: one")
    add("tensorflow_inter_op_parallelism", int, 0, "operations at once; 0: one")
    add(
        "enable_serialization_as_tensor_content",
        boolean,
        False,
        "answer with raw bytes in place of lists of values",
    )
    add("drain_seconds", seconds, 30.0, "after SIGTERM, wait so long for requests that run")
    for name in (*IGNORED_FLAGS, *REFUSED_FLAGS):
        add(name)
        parser.set_defaults(**{name: None})


def check_flags(flags: argparse.Namespace) -> None:
    """Refuses and warns of flags that cannot be acted on.

    Raises:
        InputError: a flag is refused, or two contradict each other.
    """
    for name, reason in REFUSED_FLAGS.items():
        if getattr(flags, name) not in (None, "", "false", "0"):
            raise InputError(f"--{name}: not supported; {reason}")
    for name, reason in IGNORED_FLAGS.items():
        if getattr(flags, name) is not None:
            logging.getLogger(__name__).warning("--%s has no effect: %s", name, reason)
    if not flags.model_config_file and not flags.model_base_path:
        raise InputError("name the model: --model_base_path or --model_config_file")
    if flags.model_base_path and not flags.model_name:
        raise InputError("--model_name: empty; name the model, as clients will")
    if not flags.port and not flags.grpc_socket_path:
        raise InputError("--port 0: name a --grpc_socket_path, or another port")
    if flags.port and flags.port == flags.rest_api_port:
        raise InputError(f"--rest_api_port {flags.port}: --port has it; choose another")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise InputError("--batching_parameters_file: has no effect without --enable_batching")


def serve(
    flags: argparse.Namespace,
    *,
    litert: bool = False,
    config: "ModelServerConfig | None" = None,
    verbose: bool = False,
) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        flags: those of `add_flags`.
        litert: versions are edge models that `digits run` pushed.
        config: what to serve, instead of what the flags name.
        verbose: let TensorFlow say what it starts with.

    Raises:
        InputError: a flag or a file that it names is wrong.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    check_flags(flags)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if litert:
        from serving.server.tensorflow_messages import postpone_tensorflow

        postpone_tensorflow()
    else:
        with stderr_to(None, verbose=verbose):
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for a GPU, and tells at length of none
    from serving.server.server import run

    run(flags, litert=litert, config=config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `tensorflow_model_server`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Serves SavedModels with TensorFlow Serving's protocol and flags.",
    )
    add_flags(parser, model_name="default", rest_api_port=0)
    parser.add_argument("--version", action="store_true", help="print it, and exit")
    flags = parser.parse_args(arguments)
    if flags.version:
        from importlib import metadata

        print(f"TensorFlow ModelServer: digits {metadata.version('digits')}")
        print(f"TensorFlow Library: {metadata.version('tensorflow')}")
        return 0
    try:
        serve(flags)
    except InputError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
