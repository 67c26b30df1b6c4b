"""Picture files: what is read and decoded, within bounds and undamaged. Needs no NumPy."""

import io
import os

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from serving.errors import InputError

MAX_PIXELS = 64 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024

_PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")


def read_picture(path: str | os.PathLike[str]) -> bytes:
    """Reads a picture file, as `upright` returns it.

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
        return upright(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def upright(data: bytes) -> bytes:
    """Makes sure that a picture can be decoded, and turns it as its Exif data say.

    Browsers heed them; TensorFlow's decoders see a photo as the camera was held.

    Returns:
        The picture itself, or a PNG picture where it had to be turned.

    Raises:
        InputError: the picture is empty, damaged or has more than `MAX_PIXELS` pixels.
    """
    picture = _load(data)
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return to_png(picture) if orientation in range(2, 9) else data


def decode(data: bytes) -> Image.Image:
    """Decodes a PNG or JPEG picture, and turns it as its Exif data say.

    Raises:
        InputError: the picture is empty, damaged or has more than `MAX_PIXELS` pixels.
    """
    picture = _load(data)
    ImageOps.exif_transpose(picture, in_place=True)
    return picture


def to_png(image: Image.Image) -> bytes:
    """Encodes an image as a PNG file, turned as its Exif data say.

    Raises:
        InputError: it is too large, cannot be decoded, or has numbers of an unknown range.
    """
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise InputError(
            f"{image.width}x{image.height} pixels; pictures may have 1 to {MAX_PIXELS:,}"
        )
    if image.mode in ("F", "I"):
        raise InputError(f"PIL image of mode {image.mode}, of unknown range; convert it to mode L")
    buffer = io.BytesIO()
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode not in _PNG_MODES:
            image = image.convert("RGBA" if image.mode in ("La", "PA", "RGBa") else "RGB")
        image.save(buffer, "PNG", compress_level=1)
    except (OSError, SyntaxError, ValueError) as error:  # an image is decoded when first used
        raise InputError(f"PIL image that cannot be decoded: {error}") from error
    return buffer.getvalue()


def _load(data: bytes) -> Image.Image:
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
