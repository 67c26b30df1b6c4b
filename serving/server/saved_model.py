"""The TensorFlow backend: a SavedModel in a TF1 session, which is what TF Serving runs."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import config_pb2

# The public function gives no way to the graph between reading and importing it.
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

from serving.server.servable import Servable
from serving.server.status import Code, ServingError, invalid

#: Kernels of oneDNN that abort the process on an input of another rank.
RANK_CHECKED_OPS = {"Conv2D": 4, "DepthwiseConv2dNative": 4, "Conv3D": 5, "MaxPool3D": 5}

_Callable = Callable[..., list[np.ndarray]]


class SavedModel(Servable):
    """A SavedModel."""

    def __init__(
        self,
        directory: str,
        *,
        tags: Sequence[str] = ("serve",),
        config: config_pb2.ConfigProto | None = None,
    ):
        """Loads a SavedModel.

        Args:
            directory: holds `saved_model.pb` or `saved_model.pbtxt`.
            tags: of the graph to load.
            config: of the session.

        Raises:
            ServingError: it cannot be loaded.
        """
        if not any(
            os.path.isfile(os.path.join(directory, name))
            for name in ("saved_model.pb", "saved_model.pbtxt")
        ):
            raise ServingError(
                Code.NOT_FOUND,
                "Could not find SavedModel .pb or .pbtxt at supplied export directory path: "
                f"{directory}",
            )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            loader = SavedModelLoader(directory)
            meta_graph = loader.get_meta_graph_def_from_tags(tags)
            check_ranks(meta_graph.graph_def)
            loader.load(self._session, list(tags))
        except tf.errors.OpError as error:
            self._session.close()
            # Python has wrapped TensorFlow's own words in where the graph was built.
            message = error.message.partition("\n\nOriginal stack trace")[0]
            message = message.rpartition("Node: ")[2].partition("\n")[2] or message
            raise ServingError(Code.from_number(error.error_code), message) from error
        except Exception as error:  # a damaged file raises whatever its parser meets
            self._session.close()
            raise ServingError(Code.INVALID_ARGUMENT, f"{directory}: {error}") from error
        # Upstream too tells of no signature that only restores or initialises the model.
        self.signatures = dict(meta_graph.signature_def)
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], _Callable] = {}
        self._lock = threading.Lock()

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        definition = self.signatures[signature]
        feeds = tuple(definition.inputs[alias].name for alias in inputs)
        fetches = tuple(definition.outputs[alias].name for alias in outputs)
        try:
            call = self._callables.get((feeds, fetches)) or self._make_callable(feeds, fetches)
            results = call(*inputs.values())
        except tf.errors.OpError as error:
            raise _serving_error(error) from error
        except UnicodeDecodeError as error:
            # TensorFlow's words quote the input, whose bytes Python could not read.
            raise invalid(error.object.decode(errors="backslashreplace")) from error
        # A scalar comes as NumPy's or, if it is a string, as Python's.
        return [result if isinstance(result, np.ndarray) else _scalar(result) for result in results]

    def close(self) -> None:
        self._callables.clear()
        self._session.close()

    def _make_callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Callable:
        # The public make_callable costs 120 us a call more, and refuses shapes that differ from
        # the declared ones, which TF Serving does not.
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        with self._lock:
            call = self._callables.get((feeds, fetches))
            if call is None:
                call = self._session._make_callable_from_options(options)
                self._callables[feeds, fetches] = call
        return call


def check_ranks(graph: graph_pb2.GraphDef) -> None:
    """Puts a check of the rank in front of every kernel that would abort the process.

    TF Serving, and so this server, passes on inputs of any shape. A wrong one then is an
    INVALID_ARGUMENT of `EnsureShape`.

    Args:
        graph: changed in place, its functions too.
    """
    _check_ranks(graph.node, in_function=False)
    for function in graph.library.function:
        _check_ranks(function.node_def, in_function=True)


def _check_ranks(nodes, *, in_function: bool) -> None:  # type: ignore[no-untyped-def]
    for node in [node for node in nodes if node.op in RANK_CHECKED_OPS]:
        check = node_def_pb2.NodeDef(
            name=f"{node.name}/check_rank",
            op="EnsureShape",
            input=[node.input[0]],
            device=node.device,
        )
        check.attr["T"].CopyFrom(node.attr["T"])
        shape = check.attr["shape"].shape
        for _ in range(RANK_CHECKED_OPS[node.op]):
            shape.dim.add().size = -1
        node.input[0] = f"{check.name}:output:0" if in_function else check.name
        nodes.append(check)


def session_config(*, intra_op: int, inter_op: int) -> config_pb2.ConfigProto:
    """Returns a session's configuration with so many threads; 0 lets TensorFlow choose."""
    return config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op, inter_op_parallelism_threads=inter_op
    )


def _scalar(value: np.generic | bytes) -> np.ndarray:
    return np.array(value, object if isinstance(value, bytes) else None)


def _serving_error(error: tf.errors.OpError) -> ServingError:
    return ServingError(Code.from_number(error.error_code), error.message)
