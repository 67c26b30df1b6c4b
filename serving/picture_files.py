"""Picture files: what is read and decoded, within bounds and undamaged. Needs no NumPy."""

import io
import os
import struct

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from serving.errors import InputError
from serving.files import read_bounded

MAX_PIXELS = 64 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024


def read_picture(path: str | os.PathLike[str]) -> bytes:
    """Reads a picture file, and makes sure that it can be decoded; see `make_upright`.

    Raises:
        InputError: the file is missing, empty, too large or no PNG or JPEG picture.
    """
    data = read_bounded(path, MAX_BYTES, "pictures may have")
    try:
        return make_upright(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def make_upright(data: bytes) -> bytes:
    """Returns a PNG or JPEG file as it is, or as an upright PNG file if its EXIF data turn it.

    The served graph's decoders do not look at EXIF data. A turned JPEG becomes grey, which the
    graph makes of it anyway: as a colour PNG, a phone's photo is too large to be sent.

    Raises:
        InputError: as `decode`.
    """
    picture = _decode(data)
    upright = turn_upright(picture)
    if upright is picture:
        return data
    if picture.format == "JPEG":
        upright = upright.convert("RGB").convert("L")
    buffer = io.BytesIO()
    upright.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode(data: bytes) -> Image.Image:
    """Decodes a PNG or JPEG picture, upright: as its EXIF data say, as browsers do.

    Raises:
        InputError: the picture is empty, damaged or has more than `MAX_PIXELS` pixels.
    """
    return turn_upright(_decode(data))


def turn_upright(picture: Image.Image) -> Image.Image:
    """Turns a picture as its EXIF data say; returns the very picture if it is upright."""
    return picture if _orientation(picture) == 1 else ImageOps.exif_transpose(picture)


def _orientation(picture: Image.Image) -> int:
    """Reads how a picture is turned: 1 is upright, which is also what damaged EXIF data mean."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, struct.error):
        return 1
    return orientation if orientation in range(1, 9) else 1


def _decode(data: bytes) -> Image.Image:
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
    try:
        picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except Image.DecompressionBombError as error:  # beyond a bound of Pillow's own, above ours
        raise InputError(f"too many pixels; pictures may have at most {MAX_PIXELS:,}") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise InputError(
            f"{picture.width}x{picture.height} pixels; pictures may have at most {MAX_PIXELS:,}"
        )
    return picture
