"""Picture files: what is read and decoded, within bounds and undamaged. Needs no NumPy."""

import io
import os

from PIL import Image, UnidentifiedImageError

from serving.errors import InputError

MAX_PIXELS = 64 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024


def read_picture(path: str | os.PathLike[str]) -> bytes:
    """Reads a picture file, and makes sure that it can be decoded.

    Raises:
        InputError: the file is missing, empty, too large or no PNG or JPEG picture.
    """
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size:,} bytes; pictures may have at most {MAX_BYTES:,}")
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    try:
        decode(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return data


def decode(data: bytes) -> Image.Image:
    """Decodes a PNG or JPEG picture.

    Raises:
        InputError: the picture is empty, damaged or has more than `MAX_PIXELS` pixels.
    """
    if not data:
        raise InputError("empty file; expected a PNG or JPEG picture")
    try:
        with _open(data) as picture:
            picture.verify()  # checksums, which decoding passes over
        picture = _open(data)
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("not a readable PNG or JPEG picture") from error
    return picture


def _open(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    if picture.width * picture.height > MAX_PIXELS:
        raise InputError(
            f"{picture.width}x{picture.height} pixels; pictures may have at most {MAX_PIXELS:,}"
        )
    return picture
