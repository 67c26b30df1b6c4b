"""Puts the server together from its flags, runs it, and drains it."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys

import grpc
import uvloop

from serving.errors import InputError
from serving.quiet import stderr_to
from serving.server import text_protos
from serving.server.batching import BatchingOptions
from serving.server.grpc_service import GrpcServer
from serving.server.http_server import HttpServer
from serving.server.inference import Inference
from serving.server.manager import Loader, Manager, ManagerOptions
from serving.server.metrics import Metrics
from serving.server.model_config import ModelServerConfig, read_text_proto, single_model
from serving.server.rest import RestApi, metrics_path
from serving.server.servable import Servable
from serving.server.status import ServingError
from serving.server.tflite import TFLITE_FILE, TfLiteModel
from serving.server.warmup import warm_up

log = logging.getLogger(__name__)


def run(flags: argparse.Namespace, *, litert: bool, config: ModelServerConfig | None) -> None:
    """Serves until SIGTERM or SIGINT, then answers what has arrived and returns.

    Args:
        flags: of `command.add_flags`.
        litert: versions are edge models that `digits run` pushed.
        config: what to serve; None: what the flags name.

    Raises:
        InputError: a flag or a file that it names is wrong.
    """
    gc.collect()
    gc.freeze()  # TensorFlow's own objects: a full collection of them takes a tenth of a second
    # Each picture in JSON is 29 lists, and Python looks for cycles after every 700: a fifth of the
    # time of large requests, for nothing.
    gc.set_threshold(100_000, *gc.get_threshold()[1:])
    if not litert:
        # The thread that runs TensorFlow asks for the interpreter when it has finished. Python's
        # default lets it wait 5 ms while requests are read; 64 callers get 1.4 times as much so.
        sys.setswitchinterval(1e-4)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(flags, config or _config(flags), litert=litert))


async def _run(flags: argparse.Namespace, config: ModelServerConfig, *, litert: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    metrics = Metrics()
    manager = Manager(
        _loader(flags, metrics, litert=litert),
        options=ManagerOptions(
            poll_seconds=flags.file_system_poll_wait_seconds,
            max_load_retries=flags.max_num_load_retries,
            load_retry_seconds=flags.load_retry_interval_micros / 1e6,
            labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        ),
        batching=_batching(flags),
        metrics=metrics,
    )
    inference = Inference(manager, as_content=flags.enable_serialization_as_tensor_content)
    rest_socket = None
    if flags.rest_api_port:
        rest_socket = _bind("--rest_api_port", flags.host, flags.rest_api_port)
    rest_server = HttpServer(
        _rest_api(flags, inference).answer, max_body_bytes=flags.max_request_bytes
    )
    grpc_server = _grpc_server(flags, inference)

    await _first_config(manager, config)
    await grpc_server.start()
    log.info("Running gRPC ModelServer at %s ...", ", ".join(_addresses(flags)))
    tasks = [asyncio.create_task(manager.watch())] if flags.file_system_poll_wait_seconds else []
    if flags.model_config_file and flags.model_config_file_poll_wait_seconds:
        tasks.append(asyncio.create_task(_watch_config(flags, manager)))
    if rest_socket is not None:
        await rest_server.start(rest_socket)
        rest_address = _address(flags.host, flags.rest_api_port)
        log.info("Exporting HTTP/REST API at: %s ...", rest_address)

    await stop.wait()
    log.info("draining")
    for task in tasks:
        task.cancel()
    stops = [grpc_server.stop(flags.drain_seconds)]
    if rest_socket is not None:
        stops.append(rest_server.stop(flags.drain_seconds))
    await asyncio.gather(*stops)
    await manager.close()
    log.info("stopped")


def _loader(flags: argparse.Namespace, metrics: Metrics, *, litert: bool) -> Loader:
    open_version = _edge_model if litert else _saved_model(flags)

    def load(directory: str) -> Servable:
        servable = open_version(directory)
        try:
            if flags.enable_model_warmup:
                iterations = max(1, flags.num_request_iterations_for_warmup)
                warm_up(servable, directory, metrics, iterations=iterations)
        except ServingError:
            servable.close()
            raise
        return servable

    return load


def _edge_model(directory: str) -> Servable:
    from serving.server.edge import EdgeServable

    return EdgeServable(directory)


def _saved_model(flags: argparse.Namespace) -> Loader:
    from serving.server.saved_model import SavedModel, session_config

    threads = flags.tensorflow_session_parallelism
    # One thread is the quickest for single images, and batches run beside the event loop.
    config = session_config(
        intra_op=threads or flags.tensorflow_intra_op_parallelism or 1,
        inter_op=threads or flags.tensorflow_inter_op_parallelism or 1,
    )
    tags = flags.saved_model_tags.split(",")

    def open_version(directory: str) -> Servable:
        if flags.prefer_tflite_model and os.path.isfile(os.path.join(directory, TFLITE_FILE)):
            return TfLiteModel(directory)
        return SavedModel(directory, tags=tags, config=config)

    return open_version


def _config(flags: argparse.Namespace) -> ModelServerConfig:
    if flags.model_config_file:
        return read_text_proto(flags.model_config_file, ModelServerConfig())
    return single_model(flags.model_name, flags.model_base_path)


async def _first_config(manager: Manager, config: ModelServerConfig) -> None:
    try:
        await manager.apply(config)
    except ServingError as error:
        if not manager.has_models:
            raise InputError(f"model configuration: {error.message}") from error
        # Upstream would end here; we serve the others, and GetModelStatus tells the reason.
        log.error("%s", error.message)


async def _watch_config(flags: argparse.Namespace, manager: Manager) -> None:
    while True:
        await asyncio.sleep(flags.model_config_file_poll_wait_seconds)
        try:
            await manager.apply(read_text_proto(flags.model_config_file, ModelServerConfig()))
        except (InputError, ServingError) as error:
            log.error("cannot reload the model configuration: %s", error)


def _batching(flags: argparse.Namespace) -> BatchingOptions:
    if not flags.batching_parameters_file:
        return BatchingOptions(enabled=flags.enable_batching)
    parameters = read_text_proto(flags.batching_parameters_file, text_protos.batching_parameters())
    given = {field.name: value for field, value in parameters.ListFields()}
    for name in ("allowed_batch_sizes", "pad_variable_length_inputs"):
        if name in given:
            log.warning("%s: %s has no effect", flags.batching_parameters_file, name)
    default = BatchingOptions()

    def value(name: str, otherwise: int) -> int:
        return given[name].value if name in given else otherwise

    max_batch_size = value("max_batch_size", default.max_batch_size)
    max_enqueued = default.max_enqueued
    if "max_enqueued_batches" in given:
        max_enqueued = given["max_enqueued_batches"].value * max_batch_size
    threads = value("num_batch_threads", default.threads)
    if min(max_batch_size, max_enqueued, threads) < 1:
        raise InputError(
            f"{flags.batching_parameters_file}: sizes and numbers of threads must be positive"
        )
    return BatchingOptions(
        enabled=flags.enable_batching,
        max_batch_size=max_batch_size,
        max_enqueued=max_enqueued,
        threads=threads,
        timeout=value("batch_timeout_micros", 0) / 1e6,
    )


def _rest_api(flags: argparse.Namespace, inference: Inference) -> RestApi:
    path = None
    if flags.monitoring_config_file:
        config = read_text_proto(flags.monitoring_config_file, text_protos.monitoring_config())
        prometheus = config.prometheus_config  # type: ignore[attr-defined]
        path = metrics_path(prometheus.path) if prometheus.enable else None
    return RestApi(
        inference,
        max_body_bytes=flags.max_request_bytes,
        timeout=flags.rest_api_timeout_in_ms / 1e3,
        metrics_path=path,
        cors=flags.rest_api_enable_cors_support,
    )


def _grpc_server(flags: argparse.Namespace, inference: Inference) -> GrpcServer:
    options: list[tuple[str, str | int]] = []
    for argument in filter(None, flags.grpc_channel_arguments.split(",")):
        name, equals, text = argument.partition("=")
        if not equals:
            raise InputError(f"--grpc_channel_arguments: {argument}; expected NAME=VALUE")
        options.append((name, int(text) if text.lstrip("-").isdecimal() else text))
    credentials = _credentials(flags.ssl_config_file)
    with stderr_to(None):  # where gRPC's core says the same in three lines
        try:
            return GrpcServer(
                inference,
                _addresses(flags),
                credentials=credentials,
                max_message_bytes=flags.max_request_bytes,
                options=options,
            )
        except RuntimeError as error:
            if flags.port:
                _bind("--port", flags.host, flags.port).close()  # or it raises what is wrong
            if flags.ssl_config_file:
                raise InputError(
                    f"--ssl_config_file {flags.ssl_config_file}: gRPC refuses the key or the "
                    "certificates; expected a pair that belongs together, as PEM"
                ) from error
            flag = "--grpc_socket_path" if flags.grpc_socket_path else "--port"
            raise InputError(f"{flag}: {error}; choose another") from error


def _credentials(path: str | None) -> grpc.ServerCredentials | None:
    if not path:
        return None
    config = read_text_proto(path, text_protos.ssl_config())
    key, certificate, authority = (
        getattr(config, name).encode() for name in ("server_key", "server_cert", "custom_ca")
    )
    verify: bool = config.client_verify  # type: ignore[attr-defined]
    return grpc.ssl_server_credentials(
        [(key, certificate)], authority or None, require_client_auth=verify
    )


def _addresses(flags: argparse.Namespace) -> list[str]:
    addresses = [_address(flags.host, flags.port)] if flags.port else []
    if flags.grpc_socket_path:
        addresses.append(f"unix:{flags.grpc_socket_path}")
    return addresses


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"  # brackets: IPv6


def _bind(flag: str, host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise InputError(f"{flag} {port} at {host}: {error.strerror}; choose another") from error
    return bound
