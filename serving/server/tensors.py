"""Between `TensorProto` and NumPy, within bounds: what a client sends is never trusted."""

import math
from collections.abc import Sequence

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

#: A proto of a few bytes may declare any shape, and its last value fills the rest.
MAX_TENSOR_BYTES = 1 << 28
MAX_RANK = 254

_BFLOAT16 = types_pb2.DT_BFLOAT16

#: NumPy type and field of each type that TensorFlow Serving can be sent.
_TYPES: dict[int, tuple[np.dtype, str]] = {
    number: (np.dtype(dtype), field)
    for number, dtype, field in (
        (types_pb2.DT_FLOAT, np.float32, "float_val"),
        (types_pb2.DT_DOUBLE, np.float64, "double_val"),
        (types_pb2.DT_INT32, np.int32, "int_val"),
        (types_pb2.DT_INT16, np.int16, "int_val"),
        (types_pb2.DT_INT8, np.int8, "int_val"),
        (types_pb2.DT_UINT8, np.uint8, "int_val"),
        (types_pb2.DT_UINT16, np.uint16, "int_val"),
        (types_pb2.DT_INT64, np.int64, "int64_val"),
        (types_pb2.DT_UINT32, np.uint32, "uint32_val"),
        (types_pb2.DT_UINT64, np.uint64, "uint64_val"),
        (types_pb2.DT_BOOL, np.bool_, "bool_val"),
        (types_pb2.DT_HALF, np.float16, "half_val"),
        (types_pb2.DT_COMPLEX64, np.complex64, "scomplex_val"),
        (types_pb2.DT_COMPLEX128, np.complex128, "dcomplex_val"),
        (types_pb2.DT_STRING, np.object_, "string_val"),
    )
}
_NUMBERS = {dtype: number for number, (dtype, _) in _TYPES.items()}


class TensorError(ValueError):
    """A `TensorProto` that is no tensor."""


def dtype_name(number: int) -> str:
    """Returns TensorFlow's name of a type, `uint8` say."""
    try:
        name = types_pb2.DataType.Name(number)
    except ValueError:
        return f"unknown dtype enum ({number})"
    return {"DT_HALF": "half"}.get(name, name.removeprefix("DT_").lower())


def numpy_dtype(number: int) -> np.dtype | None:
    """Returns the NumPy type of TensorFlow's, or None if such tensors cannot be sent."""
    return _TYPES[number][0] if number in _TYPES else None


def from_proto(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Reads a tensor: its bytes, or its values, of which the last fills the rest.

    Raises:
        TensorError: the type cannot be sent, or shape and content do not fit.
    """
    if proto.dtype not in _TYPES:
        raise TensorError(f"type {dtype_name(proto.dtype)} cannot be sent")
    dtype, field = _TYPES[proto.dtype]
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or len(shape) > MAX_RANK or min(shape, default=0) < 0:
        raise TensorError("the shape is not fully defined")
    size = math.prod(shape)
    if size * dtype.itemsize > MAX_TENSOR_BYTES:
        raise TensorError(f"more than {MAX_TENSOR_BYTES:,} bytes")
    content = proto.tensor_content
    try:
        if content:
            if dtype == np.object_ or len(content) != size * dtype.itemsize:
                raise TensorError("the content does not have the size that the shape needs")
            return np.frombuffer(content, dtype).reshape(shape)
        return _from_values(getattr(proto, field), dtype, size).reshape(shape)
    except ValueError as error:  # NumPy has a lower bound of the rank, 64
        raise TensorError(str(error)) from error


def _from_values(field: Sequence, dtype: np.dtype, size: int) -> np.ndarray:
    if dtype == np.object_:
        values = np.empty(len(field), object)
        values[:] = list(field)
    elif dtype == np.float16:
        values = np.array(field, np.int64).astype(np.uint16).view(np.float16)
    elif dtype.kind == "c":
        parts = np.array(field, np.float32 if dtype == np.complex64 else np.float64)
        values = parts[: len(parts) // 2 * 2].view(dtype)
    elif dtype.kind in "iu":
        # A value out of range wraps, as it does in TensorFlow.
        values = np.array(field, np.uint64 if dtype == np.uint64 else np.int64).astype(dtype)
    else:
        values = np.array(field, dtype)
    if len(values) == size:
        return values
    if len(values) > size:
        raise TensorError("more values than the shape has places")
    if not len(values):
        filled = np.zeros(size, dtype)
        if dtype == np.object_:
            filled[:] = b""
        return filled
    return np.concatenate([values, np.repeat(values[-1:], size - len(values))])


def dtype_number(array: np.ndarray) -> int:
    """Returns TensorFlow's number of an array's type.

    Raises:
        TensorError: there is none that can be sent.
    """
    if array.dtype in _NUMBERS:
        return _NUMBERS[array.dtype]
    if array.dtype.kind in "SU":
        return types_pb2.DT_STRING
    if array.dtype.name == "bfloat16":
        return _BFLOAT16
    raise TensorError(f"type {array.dtype} cannot be sent")


def to_proto(array: np.ndarray, proto: tensor_pb2.TensorProto, *, as_content: bool = False) -> None:
    """Writes a tensor, as TensorFlow Serving does: into the field of values of its type.

    Args:
        array: of any type that TensorFlow has.
        proto: an empty tensor.
        as_content: write raw bytes instead, which is quicker; strings have none.

    Raises:
        TensorError: the type cannot be sent.
    """
    number = dtype_number(array)
    proto.dtype = number
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if number == types_pb2.DT_STRING:
        proto.string_val.extend(
            value.encode() if isinstance(value, str) else bytes(value) for value in array.flat
        )
    elif as_content:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    elif number in (types_pb2.DT_HALF, _BFLOAT16):
        proto.half_val.extend(np.ascontiguousarray(array).view(np.uint16).ravel().tolist())
    else:
        values = array.ravel()
        if values.dtype.kind == "c":
            values = values.view(np.float32 if values.dtype == np.complex64 else np.float64)
        getattr(proto, _TYPES[number][1]).extend(values.tolist())
