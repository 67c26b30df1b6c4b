"""Loads, watches and unloads the versions of all models, without ever leaving a gap."""

import asyncio
import enum
import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.server.batching import Batcher, BatchingOptions
from serving.server.metrics import Metrics
from serving.server.model_config import ModelConfig, ModelServerConfig, check_transition
from serving.server.request_log import RequestLog
from serving.server.servable import Servable, has_leading_batch
from serving.server.status import Code, ServingError, invalid
from serving.server.versions import Snapshot, choose_versions, find_versions

log = logging.getLogger(__name__)

#: Loads a version directory, and warms it up.
Loader = Callable[[str], Servable]

#: So often a new model is looked at before the server starts without it: it is being copied.
MAX_INITIAL_POLLS = 30

#: Ended versions whose status is remembered, for each model.
REMEMBERED_VERSIONS = 100


class State(enum.IntEnum):
    """Of a version, with the numbers of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """How versions are found and loaded.

    Attributes:
        poll_seconds: between two looks at the file system; zero: one look only.
        max_load_retries: of a version that could not be loaded.
        load_retry_seconds: between them; a version that changes on disk is tried at once.
        labels_for_unavailable: a new label may be given to a version that is not loaded yet.
    """

    poll_seconds: float = 1.0
    max_load_retries: int = 5
    load_retry_seconds: float = 60.0
    labels_for_unavailable: bool = False


class LoadedVersion:
    """A version that serves. As a context manager it marks a request, which it must outlive.

    Attributes:
        model: the name of the model.
        number: the version.
        servable: what runs it.
        batcher: through which it is run.
        batchable: signatures whose requests may share a run.
        request_log: takes samples of its requests, if that is configured.
    """

    def __init__(self, model: str, number: int, servable: Servable, batcher: Batcher):
        self.model = model
        self.number = number
        self.servable = servable
        self.batcher = batcher
        self.batchable = {
            name
            for name, definition in servable.signatures.items()
            if has_leading_batch(definition)
        }
        self.request_log: RequestLog | None = None
        self._requests = 0

    def __enter__(self) -> "LoadedVersion":
        self._requests += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._requests -= 1

    async def close(self) -> None:
        """Waits for the requests that still use it, then frees it."""
        while self._requests:
            await asyncio.sleep(0.01)
        self.batcher.close()
        await asyncio.to_thread(self.servable.close)


@dataclass
class _Version:
    """What is known of a version directory."""

    number: int
    directory: str
    state: State = State.START
    error: ServingError | None = None
    loaded: LoadedVersion | None = None
    attempts: int = 0
    retry_at: float = 0.0
    snapshot: Snapshot | None = None  # of the last look, or of the attempt that failed

    def to_status(self) -> get_model_status_pb2.ModelVersionStatus:
        status = get_model_status_pb2.ModelVersionStatus(version=self.number, state=self.state)
        status.status.error_code = self.error.code.number if self.error else 0
        status.status.error_message = self.error.message if self.error else ""
        return status


@dataclass
class _Model:
    config: ModelConfig
    versions: dict[int, _Version] = field(default_factory=dict)
    serving: dict[int, LoadedVersion] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    request_log: RequestLog | None = None
    removed: bool = False


class Manager:
    """The models of a server. Belongs to the event loop that runs when it is made."""

    def __init__(
        self,
        loader: Loader,
        *,
        options: ManagerOptions,
        batching: BatchingOptions,
        metrics: Metrics,
    ):
        self.metrics = metrics
        self._loader = loader
        self._options = options
        self._batching = batching
        self._config = ModelServerConfig()
        self._models: dict[str, _Model] = {}
        self._lock = asyncio.Lock()  # of changes; requests never wait for it
        self._unloads: set[asyncio.Task[None]] = set()

    @property
    def has_models(self) -> bool:
        """Whether a configuration has been accepted."""
        return bool(self._models)

    # Requests

    def version_of(self, spec: model_pb2.ModelSpec) -> LoadedVersion:
        """Returns the version that a request asks for: a number, a label or the latest.

        Raises:
            ServingError: it is not served.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        versions = model.serving if model else {}
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            label = spec.version_label
            if model is None or label not in model.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            number = model.labels[label]
        elif choice == "version":
            number = spec.version.value
        elif versions:
            return versions[max(versions)]
        else:
            raise ServingError(
                Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})"
            )
        if number not in versions:
            raise ServingError(
                Code.NOT_FOUND, f"Servable not found for request: Specific({spec.name}, {number})"
            )
        return versions[number]

    def statuses(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """Returns the states of a version, or of all versions of a model, latest first.

        Raises:
            ServingError: there are none.
        """
        model = self._models.get(spec.name)
        versions = model.versions if model else {}
        if spec.HasField("version"):
            number = spec.version.value
            if number not in versions:
                raise ServingError(
                    Code.NOT_FOUND, f"Could not find version {number} of model {spec.name}"
                )
            return [versions[number].to_status()]
        if not versions:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        return [versions[number].to_status() for number in sorted(versions, reverse=True)]

    # Changes

    async def apply(self, config: ModelServerConfig) -> None:
        """Changes to another configuration, and loads what is new in it.

        Raises:
            ServingError: it is illegal, or new models cannot be loaded.
        """
        async with self._lock:
            if config.WhichOneof("config") is None:
                return
            check_transition(self._config, config)
            labels = self._checked_labels(config)
            request_logs = self._open_request_logs(config)
            self._config = config
            wanted = {model.name: model for model in config.model_config_list.config}
            added = [name for name in wanted if self._is_removed(name)]
            for name, model in self._models.items():
                model.removed = name not in wanted
            for name, model_config in wanted.items():
                model = self._models.setdefault(name, _Model(model_config))
                model.config = model_config
                model.labels = labels.get(name, {})
                self._set_request_log(model, request_logs[name])
            await self._poll()
            for _ in range(MAX_INITIAL_POLLS):
                if not any(self._is_settling(name) for name in added):
                    break
                await asyncio.sleep(self._options.poll_seconds)
                await self._poll()
            self._check_available(added)

    async def poll(self) -> None:
        """Looks at the file system once, and loads and unloads accordingly."""
        async with self._lock:
            await self._poll()

    async def watch(self) -> None:
        """Polls until cancelled."""
        while True:
            await asyncio.sleep(self._options.poll_seconds)
            try:
                await self.poll()
            except Exception:  # the server must outlive whatever a file system does
                log.exception("polling failed")

    async def close(self) -> None:
        """Unloads everything."""
        async with self._lock:
            for model in self._models.values():
                for version in model.versions.values():
                    if version.loaded is not None:
                        self._unload(model, version)
        while self._unloads:
            await asyncio.wait(set(self._unloads))
        for model in self._models.values():
            if model.request_log is not None:
                await asyncio.to_thread(model.request_log.close)

    def _is_removed(self, name: str) -> bool:
        model = self._models.get(name)
        return model is None or model.removed

    def _is_settling(self, name: str) -> bool:
        versions = self._models[name].versions.values()
        return any(version.state is State.START for version in versions)

    def _checked_labels(self, config: ModelServerConfig) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for model_config in config.model_config_list.config:
            name = model_config.name
            model = self._models.get(name)
            available = model.serving if model else {}
            old_labels = model.labels if model else {}
            for label, number in model_config.version_labels.items():
                is_new = old_labels.get(label, number) == number
                if number not in available and not (
                    self._options.labels_for_unavailable and is_new
                ):
                    raise ServingError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {number} of model {name}, which is "
                        "not currently available for inference",
                    )
                labels.setdefault(name, {})[label] = number
        return labels

    def _open_request_logs(self, config: ModelServerConfig) -> dict[str, RequestLog | None]:
        """Returns each model's log: the one that it has, if its configuration is the same."""
        logs: dict[str, RequestLog | None] = {}
        for model_config in config.model_config_list.config:
            model = self._models.get(model_config.name)
            old = model.request_log if model else None
            if old is not None and old.config == model_config.logging_config:
                logs[model_config.name] = old
            else:
                logs[model_config.name] = RequestLog.from_config(model_config, self.metrics)
        return logs

    def _set_request_log(self, model: _Model, new: RequestLog | None) -> None:
        old, model.request_log = model.request_log, new
        for version in model.serving.values():
            version.request_log = new
        if old is not None and old is not new:
            old.close()

    def _check_available(self, names: list[str]) -> None:
        failed = []
        for name in names:
            versions = self._models[name].versions
            if not self._models[name].serving:
                failed += [
                    f"{{name: {name} version: {number}}} due to error: {version.error}"
                    for number, version in versions.items()
                    if version.error
                ]
        if failed:
            raise ServingError(
                Code.UNKNOWN,
                f"{len(failed)} model(s) did not become available: {{{', '.join(failed)}}}",
            )

    async def _poll(self) -> None:
        for name, model in list(self._models.items()):
            try:
                if model.removed:
                    wanted = {}
                else:
                    found = await asyncio.to_thread(find_versions, model.config.base_path)
                    wanted = choose_versions(model.config.model_version_policy, found)
            except OSError as error:
                log.warning(
                    "Could not find base path %s for servable %s with error %s",
                    model.config.base_path,
                    name,
                    error,
                )
                continue
            for number, directory in wanted.items():
                await self._advance(name, model, number, directory)
            self._retire(model, wanted)

    async def _advance(self, name: str, model: _Model, number: int, directory: str) -> None:
        """Loads a wanted version if it is time to."""
        version = model.versions.get(number)
        if version is None or (version.state is State.END and not version.error):
            version = model.versions[number] = _Version(number, directory)
        if version.state not in (State.START, State.END):
            return
        try:
            snapshot = await asyncio.to_thread(Snapshot.take, directory)
        except OSError:
            return  # it changes this very moment
        if version.state is State.END:
            retry = (
                version.attempts <= self._options.max_load_retries
                and time.monotonic() >= version.retry_at
            )
            if snapshot == version.snapshot and not retry:
                return
            if snapshot != version.snapshot:
                version = model.versions[number] = _Version(number, directory)
        previous, version.snapshot = version.snapshot, snapshot
        if not snapshot.is_settled(previous, self._options.poll_seconds):
            return
        version.state = State.LOADING
        version.attempts += 1
        log.info("loading %s version %d from %s", name, number, directory)
        start = time.monotonic()
        try:
            servable = await asyncio.to_thread(self._loader, directory)
        except Exception as unforeseen:
            # Whatever a version's files make a library do, the others go on, and it is tried again.
            error = (
                unforeseen
                if isinstance(unforeseen, ServingError)
                else ServingError(Code.INTERNAL, f"{type(unforeseen).__name__}: {unforeseen}")
            )
            version.state, version.error = State.END, error
            version.retry_at = time.monotonic() + self._options.load_retry_seconds
            log.error("cannot load %s version %d: %s", name, number, error)
            return
        batcher = Batcher(servable.run, self._batching, asyncio.get_running_loop())
        version.loaded = model.serving[number] = LoadedVersion(name, number, servable, batcher)
        version.loaded.request_log = model.request_log
        version.state, version.error = State.AVAILABLE, None
        log.info("serving %s version %d, loaded in %.1f s", name, number, time.monotonic() - start)

    def _retire(self, model: _Model, wanted: dict[int, str]) -> None:
        """Unloads what is no longer wanted, unless nothing would be left to serve."""
        if wanted and not any(number in wanted for number in model.serving):
            return
        for number, version in model.versions.items():
            if number not in wanted and version.loaded is not None:
                self._unload(model, version)
            elif number not in wanted and version.state is State.START:
                version.state = State.END
        ended = [n for n, v in sorted(model.versions.items()) if v.state is State.END]
        for number in ended[:-REMEMBERED_VERSIONS]:
            del model.versions[number]

    def _unload(self, model: _Model, version: _Version) -> None:
        del model.serving[version.number]
        loaded, version.loaded, version.state = version.loaded, None, State.UNLOADING
        assert loaded is not None
        task = asyncio.create_task(self._finish_unload(version, loaded))
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)

    async def _finish_unload(self, version: _Version, loaded: LoadedVersion) -> None:
        await loaded.close()
        version.state = State.END
        log.info("unloaded %s version %d", loaded.model, loaded.number)
        del loaded
        await asyncio.to_thread(gc.collect)  # a graph is full of cycles
