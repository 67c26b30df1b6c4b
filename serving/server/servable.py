"""What every backend offers: one loaded version of a model."""

import abc
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

DEFAULT_SIGNATURE = "serving_default"

#: Arrays by alias.
Inputs: TypeAlias = dict[str, np.ndarray]


class Servable(abc.ABC):
    """One loaded version of a model.

    Attributes:
        signatures: by name; what a client may call.
    """

    signatures: Mapping[str, meta_graph_pb2.SignatureDef]

    @abc.abstractmethod
    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        """Runs the model. May be called by several threads at once.

        Args:
            signature: one of `signatures`.
            inputs: by alias, of the types that the signature declares.
            outputs: aliases.

        Returns:
            One array for each output.

        Raises:
            ServingError: the model refuses the inputs.
        """

    def inline_rows(self, signature: str) -> int:
        """Up to so many rows a run takes less time than handing it to another thread."""
        return 0

    @abc.abstractmethod
    def close(self) -> None:
        """Frees the model. Nothing runs it any more."""


def has_leading_batch(signature: meta_graph_pb2.SignatureDef) -> bool:
    """Tells whether every input and output has a first dimension of any size.

    Only then may rows of different requests share a run.
    """
    return bool(signature.inputs) and all(
        not info.tensor_shape.unknown_rank
        and len(info.tensor_shape.dim) > 0
        and info.tensor_shape.dim[0].size == -1
        for info in (*signature.inputs.values(), *signature.outputs.values())
    )
