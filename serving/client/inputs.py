"""What a caller hands in, checked and cut into batches of one kind."""

import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image

from serving.errors import InputError
from serving.picture_files import MAX_PIXELS, make_upright, read_picture, turn_upright

if TYPE_CHECKING:
    import numpy as np

#: One picture, or an array of one or several digits.
Input: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | np.ndarray"
Inputs: TypeAlias = "Input | Iterable[Input]"

#: A batch holds less, unless one picture alone is larger. As base64, four thirds of it.
BATCH_BYTES = 3 * 1024 * 1024

_PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")


@dataclass(frozen=True)
class Signature:
    """A signature of the served model, by its name and its input's."""

    name: str
    input: str


PIXELS = Signature("serving_default", "images")
PICTURES = Signature("serve_image_bytes", "image_bytes")


@dataclass(frozen=True)
class Batch:
    """What one request asks.

    Attributes:
        signature: what the values are.
        files: the name of each value: of a file, or "#3" for the fourth.
        values: for PICTURES PNG or JPEG files, for PIXELS 784 bytes each.
    """

    signature: Signature
    files: list[str]
    values: list[bytes]


def batches(inputs: Inputs, *, size: int, max_bytes: int) -> Iterator[Batch]:
    """Cuts inputs into batches, in their order, each of one signature.

    Args:
        inputs: one or many; taken as they are needed.
        size: highest number of values of a batch.
        max_bytes: highest size of all values of a batch.

    Raises:
        InputError: an input is not what it should be; its batch and the later ones are not made.
    """
    batch: Batch | None = None
    weight = count = 0
    for file, signature, values in _items(inputs):
        for value in values:
            name = f"#{count}" if file is None else file
            count += 1
            if len(value) > max_bytes:
                raise InputError(f"{name}: {len(value):,} bytes; at most {max_bytes:,} can be sent")
            if batch and (
                batch.signature != signature
                or len(batch.values) == size
                or weight + len(value) > min(BATCH_BYTES, max_bytes)
            ):
                yield batch
                batch = None
            if batch is None:
                batch, weight = Batch(signature, [], []), 0
            batch.files.append(name)
            batch.values.append(value)
            weight += len(value)
    if batch:
        yield batch


def _items(
    inputs: Inputs,
) -> Iterator[tuple[str | None, Signature, list[bytes]]]:
    """Yields the file, if it is one, and the checked values of each input."""
    many = inputs if isinstance(inputs, Iterable) and not _is_one(inputs) else [inputs]
    for position, value in enumerate(many):
        if isinstance(value, str | os.PathLike):
            yield os.fspath(value), PICTURES, [read_picture(value)]
            continue
        try:
            signature, values = _encode(value)
        except InputError as error:
            raise InputError(f"input #{position}: {error}") from error
        yield None, signature, values


def _is_one(value: object) -> bool:
    return isinstance(value, str | os.PathLike | bytes | Image.Image) or _is_array(value)


def _is_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")  # no array was ever made where it is not imported
    return numpy is not None and isinstance(value, numpy.ndarray)


def _encode(value: Any) -> tuple[Signature, list[bytes]]:
    if isinstance(value, bytes):
        return PICTURES, [make_upright(value)]
    if isinstance(value, Image.Image):
        return PICTURES, [_to_png(value)]
    if _is_array(value):
        from serving.client.arrays import to_pixels

        return PIXELS, to_pixels(value)
    raise InputError(
        f"{type(value).__name__}; expected a path, the bytes of a PNG or JPEG file, a PIL image or "
        "a NumPy array"
    )


def _to_png(image: Image.Image) -> bytes:
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise InputError(
            f"{image.width}x{image.height} pixels; pictures may have 1 to {MAX_PIXELS:,}"
        )
    if image.mode in ("F", "I"):
        raise InputError(f"PIL image of mode {image.mode}, of unknown range; convert it to mode L")
    buffer = io.BytesIO()
    try:
        image = turn_upright(image)
        if image.mode not in _PNG_MODES:
            image = image.convert("RGBA" if image.mode in ("La", "PA", "RGBa") else "RGB")
        image.save(buffer, "PNG", compress_level=1)
    except (OSError, SyntaxError, ValueError) as error:  # an image is decoded when first used
        raise InputError(f"PIL image that cannot be decoded: {error}") from error
    return buffer.getvalue()
