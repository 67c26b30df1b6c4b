"""The reference preprocessing, and that the served graph does the same."""

import io
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from components.picture_graph import decode_and_centre
from serving.errors import InputError
from serving.picture_files import read_picture
from serving.pictures import centre_digit, encode_png, to_grey

in_graph = tf.function(decode_and_centre, input_signature=[tf.TensorSpec([None], tf.string)])


def enlarge(image: np.ndarray) -> np.ndarray:
    """The digit large, off-centre and of another aspect than its canvas."""
    canvas = np.zeros((220, 300), np.uint8)
    canvas[30:198, 100:268] = np.asarray(Image.fromarray(image).resize((168, 168)))
    return canvas


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(image: np.ndarray) -> bytes:
    return saved(Image.fromarray(image), "JPEG", quality=80)


def palette(image: np.ndarray) -> Image.Image:
    """Each grey value as a colour of a palette, black throughout."""
    picture = Image.fromarray(image).convert("P")
    picture.putpalette(bytes(3 * 256))
    return picture


def turned(image: np.ndarray, orientation: int, format: str = "JPEG") -> bytes:
    """A picture that is upright once it is turned as its EXIF data say.

    Args:
        image: uint8 [height, width] or [height, width, channels].
        orientation: 1 to 8, as EXIF counts.
        format: JPEG or PNG.
    """
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = Image.fromarray(image)
    if orientation in undo:
        picture = picture.transpose(undo[orientation])
    return saved(picture, format, exif=exif, quality=95)


VARIANTS = {
    "as MNIST": encode_png,
    "dark on light": lambda i: encode_png(255 - i),
    "large": lambda i: encode_png(enlarge(i)),
    "JPEG": lambda i: jpeg(255 - enlarge(i)),
    "colour": lambda i: encode_png(np.stack([i, i // 2, 255 - i], -1)),
    "black on transparent": lambda i: encode_png(np.stack([0 * i, 0 * i, 0 * i, i], -1)),
    "grey on transparent": lambda i: encode_png(np.stack([0 * i, i], -1)),
    "half-transparent": lambda i: encode_png(np.stack([i // 4, i // 8, 0 * i, i - i // 4], -1)),
    "half-transparent grey": lambda i: encode_png(np.stack([0 * i, i // 2], -1)),
    "transparent palette": lambda i: saved(palette(i), transparency=bytes(range(256))),
    "one transparent grey": lambda i: saved(Image.fromarray(i), transparency=0),
    "one transparent colour": lambda i: saved(
        Image.fromarray(i).convert("RGB"), transparency=(0, 0, 0)
    ),
    "1 bit": lambda i: saved(Image.fromarray(enlarge(i) > 128)),
    "palette": lambda i: saved(Image.fromarray(255 - enlarge(i)).quantize(16)),
    "16 bit": lambda i: encode_png(enlarge(i).astype(np.uint16) * 257),
    "on mid-grey": lambda i: encode_png(np.maximum(i // 2 + 128, 128).astype(np.uint8)),
}


#: As cameras write them; a decoder of TensorFlow does not turn them.
TURNED: dict[str, Callable[[np.ndarray], bytes]] = {
    f"{format}, orientation {n}": partial(
        lambda i, **how: turned(np.stack([enlarge(i)] * 3, -1), **how), orientation=n, format=format
    )
    for format, n in [*(("JPEG", n) for n in range(1, 9)), ("PNG", 6)]
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_graph_and_python_agree_within_one_grey_level(sample, variant):
    pictures = [VARIANTS[variant](image) for image in sample[0][::50]]
    ours = np.stack([centre_digit(to_grey(picture)) for picture in pictures])
    served = in_graph(tf.constant(pictures)).numpy()
    assert np.abs(ours.astype(int) - served).max() <= 1


@pytest.mark.parametrize("variant", TURNED)
def test_photos_are_turned_upright(sample, tmp_path, variant):
    image = sample[0][3210]
    upright = centre_digit(enlarge(image)).astype(int)
    photo = TURNED[variant](image)
    # JPEG's noise may move the crop by a pixel; a wrong turn makes 28 and more.
    assert np.abs(centre_digit(to_grey(photo)) - upright).mean() < 3
    path = tmp_path / "photo"
    path.write_bytes(photo)
    sent = read_picture(path)
    assert (sent == photo) == variant.endswith(" 1")
    served = in_graph(tf.constant([sent])).numpy()[0]
    assert np.abs(centre_digit(to_grey(photo)).astype(int) - served).max() <= 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_picture_with_damaged_exif_data_is_taken_as_it_is(sample):
    picture = Image.fromarray(sample[0][0])
    damaged = saved(picture, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12")
    np.testing.assert_allclose(to_grey(damaged), sample[0][0], atol=1e-3)
    garbage = saved(picture, exif=b"garbage")
    np.testing.assert_allclose(to_grey(garbage), sample[0][0], atol=1e-3)


def test_digits_of_mnist_stay_where_they_are(sample):
    centred = np.stack([centre_digit(image) for image in sample[0]])
    # Only ink under a tenth of the peak may go.
    assert np.abs(centred.astype(int) - sample[0]).mean() < 1
    changed = np.abs(centred.astype(int) - sample[0]).max(axis=(1, 2))
    assert (changed <= 26).mean() > 0.98


@pytest.mark.parametrize("variant", ["dark on light", "colour", "black on transparent"])
def test_polarity_and_colour_do_not_matter(sample, variant):
    for image in sample[0][::500]:
        plain = centre_digit(image).astype(int)
        found = centre_digit(to_grey(VARIANTS[variant](image)))
        assert np.abs(plain - found).max() <= 4  # rounding, stretched with the contrast


def test_position_does_not_matter(sample):
    image = sample[0][1234]
    expected = centre_digit(enlarge(image))
    for rows, columns in ((-25, -90), (15, 20), (10, -60)):
        moved = np.roll(enlarge(image), (rows, columns), (0, 1))
        np.testing.assert_array_equal(centre_digit(moved), expected)


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_picture_without_a_digit_becomes_black(grey):
    blank = np.full((40, 30), grey, np.uint8)
    assert not centre_digit(blank).any()
    assert not in_graph(tf.constant([encode_png(blank)])).numpy().any()


def test_no_pictures_give_no_digits():
    assert in_graph(tf.constant([], tf.string)).shape == (0, 28, 28)


def png_header(width: int, height: int) -> bytes:
    content = bytearray(encode_png(np.zeros((28, 28), np.uint8)))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


BAD = {
    "empty": b"",
    "text": b"hello",
    "cut off": encode_png(np.eye(28, dtype=np.uint8) * 255)[:60],
    "GIF": b"GIF89a" + bytes(100),
    "large": png_header(9_000, 9_000),
    "huge": png_header(20_000, 20_000),
}


def test_a_picture_without_end_is_refused():
    with pytest.raises(InputError, match="/dev/zero: too large; pictures may have at most"):
        read_picture("/dev/zero")


@pytest.mark.parametrize("fault", BAD)
def test_bad_bytes_are_refused(tmp_path, fault):
    path = tmp_path / "picture.png"
    path.write_bytes(BAD[fault])
    with pytest.raises(InputError, match="picture"):
        to_grey(read_picture(path))
    with pytest.raises(tf.errors.InvalidArgumentError):
        in_graph(tf.constant([BAD[fault]]))
