"""The reference preprocessing, and that the served graph does the same."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from components.picture_graph import decode_and_centre
from serving.errors import InputError
from serving.picture_files import read_picture, to_png, upright
from serving.pictures import centre_digit, encode_png, to_grey

in_graph = tf.function(decode_and_centre, input_signature=[tf.TensorSpec([None], tf.string)])


def enlarge(image: np.ndarray) -> np.ndarray:
    """The digit large, off-centre and of another aspect than its canvas."""
    canvas = np.zeros((220, 300), np.uint8)
    canvas[30:198, 100:268] = np.asarray(Image.fromarray(image).resize((168, 168)))
    return canvas


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def palette(image: np.ndarray) -> bytes:
    """Black, as transparent as the palette says."""
    buffer = io.BytesIO()
    picture = Image.fromarray(image).quantize(16)
    picture.putpalette(bytes(768))
    picture.save(buffer, "PNG", transparency=bytes(range(0, 256, 17)))
    return buffer.getvalue()


def turned(image: np.ndarray, orientation: int, kind: str) -> bytes:
    """As a camera writes what it sees, which was not held upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    buffer = io.BytesIO()
    Image.fromarray(255 - enlarge(image)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


VARIANTS = {
    "as MNIST": encode_png,
    "dark on light": lambda i: encode_png(255 - i),
    "large": lambda i: encode_png(enlarge(i)),
    "JPEG": lambda i: jpeg(255 - enlarge(i)),
    "colour": lambda i: encode_png(np.stack([i, i // 2, 255 - i], -1)),
    "black on transparent": lambda i: encode_png(np.stack([0 * i, 0 * i, 0 * i, i], -1)),
    "grey on transparent": lambda i: encode_png(np.stack([0 * i, i], -1)),
    "half transparent": lambda i: encode_png(np.stack([i, 0 * i, i, 255 - i // 2], -1)),
    "transparent by palette": palette,
    "16 bit": lambda i: encode_png(enlarge(i).astype(np.uint16) * 257),
    "on mid-grey": lambda i: encode_png(np.maximum(i // 2 + 128, 128).astype(np.uint8)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_graph_and_python_agree_within_one_grey_level(sample, variant):
    pictures = [VARIANTS[variant](image) for image in sample[0][::50]]
    ours = np.stack([centre_digit(to_grey(picture)) for picture in pictures])
    served = in_graph(tf.constant(pictures)).numpy()
    assert np.abs(ours.astype(int) - served).max() <= 1


#: What undoes each, on [height, width].
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    0: lambda a: a,
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
    9: lambda a: a,
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_photo_is_turned_as_the_camera_says(sample, orientation, kind):
    picture = turned(sample[0][1234], orientation, kind)
    with Image.open(io.BytesIO(picture)) as as_written:
        expected = TURNS[orientation](np.asarray(as_written).astype(np.float32))
        np.testing.assert_allclose(to_grey(picture), expected, atol=1e-3)
        np.testing.assert_allclose(to_grey(to_png(as_written)), expected, atol=1e-3)
    sent = upright(picture)
    assert (sent is picture) == (orientation not in range(2, 9))
    served = in_graph(tf.constant([sent])).numpy()[0]
    assert np.abs(centre_digit(to_grey(picture)).astype(int) - served).max() <= 1


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
    return bytes(content)


BAD = {
    "empty": b"",
    "text": b"hello",
    "cut off": encode_png(np.eye(28, dtype=np.uint8) * 255)[:60],
    "GIF": b"GIF89a" + bytes(100),
    "huge": png_header(20_000, 20_000),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_bytes_are_refused(tmp_path, fault):
    path = tmp_path / "picture.png"
    path.write_bytes(BAD[fault])
    with pytest.raises(InputError, match="picture"):
        to_grey(read_picture(path))
    with pytest.raises(tf.errors.InvalidArgumentError):
        in_graph(tf.constant([BAD[fault]]))
