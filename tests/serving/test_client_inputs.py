"""What a client takes, what it refuses before anything is sent, and where it may be sent."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.client import Client, InputError
from serving.client.inputs import PICTURES, PIXELS, Batch, batches
from serving.picture_files import decode
from serving.pictures import encode_png

DIGITS = np.random.default_rng(1).integers(0, 256, (3, 28, 28), np.uint8)
BYTES = [digit.tobytes() for digit in DIGITS]


def cut(inputs: Any, size: int = 64, max_bytes: int = 2**26) -> list[Batch]:
    return list(batches(inputs, size=size, max_bytes=max_bytes))


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (DIGITS[0], BYTES[:1]),
        (DIGITS[0].reshape(28, 28, 1), BYTES[:1]),
        (DIGITS[0].reshape(784), BYTES[:1]),
        (DIGITS, BYTES),
        (DIGITS[:1], BYTES[:1]),
        (DIGITS.reshape(3, 28, 28, 1), BYTES),
        (DIGITS.reshape(3, 784), BYTES),
        (list(DIGITS), BYTES),
        ([DIGITS[:2], DIGITS[2]], BYTES),
        ((digit for digit in DIGITS), BYTES),
        (np.asfortranarray(DIGITS), BYTES),
        (DIGITS.transpose(0, 2, 1), [digit.T.tobytes() for digit in DIGITS]),
        (DIGITS[:, ::-1], [digit[::-1].tobytes() for digit in DIGITS]),
        *(
            (DIGITS.astype(kind), BYTES)
            for kind in ("int16", "int64", ">i4", "uint32", "float16", "float32", "float64")
        ),
        (np.zeros((2, 28, 28), np.float32), [bytes(784)] * 2),
        (np.tile(DIGITS[0], (28, 1, 1)), BYTES[:1] * 28),
    ],
)
def test_arrays_of_digits(array, values):
    (batch,) = cut(array)
    assert batch == Batch(PIXELS, [f"#{index}" for index in range(len(values))], values)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((28, 28, 3), np.uint8), r"array \[28, 28, 3\] has 3 channels; expected grey"),
        (np.zeros((5, 28, 28, 3), np.uint8), "has 3 channels; expected grey"),
        (np.zeros((5, 28, 28, 4), np.uint8), "has 4 channels; expected grey"),
        (DIGITS / 255, r"array of float64 from 0 to 1; expected pixels from 0 to 255: multiply"),
        (DIGITS.astype(np.float32) / 255, "array of float32 from 0 to 1; .*multiply by 255"),
        (DIGITS * 0.5, "with fractions; expected pixels from 0 to 255, whole: round them"),
        (DIGITS - 128.0, "array of float64 from -128 to 127; expected pixels from 0 to 255"),
        (DIGITS.astype(int) * 2, "array of int64 from 0 to 510; expected pixels from 0 to 255"),
        (DIGITS.view(np.int8), "array of int8 from -128 to 127; expected pixels"),
        (np.full((28, 28), np.nan), "NaN or infinite; expected pixels from 0 to 255"),
        (np.full((28, 28), np.inf), "NaN or infinite"),
        (DIGITS > 0, "array of bool; expected pixels from 0 to 255, as uint8"),
        (DIGITS.astype(str), "array of <U3; expected pixels from 0 to 255, as uint8"),
        (DIGITS.astype(object), "array of object; expected pixels from 0 to 255, as uint8"),
        (DIGITS.astype(complex), "array of complex128; expected"),
        (np.zeros((28, 27), np.uint8), r"array \[28, 27\]; expected \[28, 28\], \[n, 28, 28\]"),
        (np.zeros((100, 100), np.uint8), "pictures of other sizes go in as PNG"),
        (np.zeros(783, np.uint8), r"array \[783\]; expected"),
        (np.zeros((2, 2, 28, 28), np.uint8), r"array \[2, 2, 28, 28\]; expected"),
        (np.array(5), r"array \[\]; expected"),
        (b"", "empty file; expected a PNG or JPEG picture"),
        (b"hello", "not a readable PNG or JPEG picture"),
        (encode_png(DIGITS[0])[:200], "not a readable PNG or JPEG picture"),
        (Image.new("F", (28, 28)), "PIL image of mode F, of unknown range; convert it to mode L"),
        (Image.new("L", (0, 0)), "0x0 pixels; pictures may have 1 to"),
        (Image.open(io.BytesIO(encode_png(DIGITS[0])[:200])), "PIL image that cannot be decoded"),
        ([[0, 255], [255, 0]], "list; expected a path, the bytes of a PNG or JPEG file, a PIL"),
        (None, "NoneType; expected a path"),
        (7, "int; expected a path"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(bad, message):
    with pytest.raises(InputError, match=message) as caught:
        cut([DIGITS, bad] if not isinstance(bad, list) else bad)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("input #")
    # Port 1 is nobody's: had it sent the good one, the error would be another.
    with Client("grpc://127.0.0.1:1") as client, pytest.raises(InputError, match=message):
        client.classify([DIGITS, bad] if not isinstance(bad, list) else bad)


@pytest.mark.parametrize("lonely", [7, None])
def test_what_is_no_input_at_all(lonely):
    with pytest.raises(InputError, match="expected a path"):
        cut(lonely)


def test_bad_files_are_told_by_name(tmp_path):
    empty, text = tmp_path / "empty.png", tmp_path / "text.png"
    empty.write_bytes(b"")
    text.write_bytes(b"hello")
    for path, message in (
        (empty, "empty file; expected a PNG or JPEG picture"),
        (text, "not a readable PNG or JPEG picture"),
        (tmp_path / "missing.png", "No such file or directory"),
    ):
        for given in (path, str(path), [DIGITS, path]):
            with pytest.raises(InputError) as caught:
                cut(given)
            assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "PA", "RGBa"]
)
def test_pil_images_of_any_mode_go_as_png(mode):
    colour = Image.fromarray(np.stack([DIGITS[0], 255 - DIGITS[0], DIGITS[1]], -1))
    base = colour.convert("RGBA") if mode == "RGBa" else colour
    if mode == "LAB":
        image = Image.merge("LAB", colour.split())
    elif mode == "PA":
        image = colour.convert("P").convert("PA")
    else:
        image = base.convert(mode)
    (batch,) = cut(image)
    assert batch.signature == PICTURES
    sent = decode(batch.values[0])
    np.testing.assert_array_equal(sent.convert("RGB"), image.convert("RGB"))


def test_a_pil_image_of_16_bits_keeps_them():
    deep = DIGITS[0].astype(np.uint16) * 257
    (batch,) = cut(Image.fromarray(deep))
    np.testing.assert_array_equal(np.asarray(decode(batch.values[0])), deep)


def test_bytes_and_jpeg_go_as_they_are():
    buffer = io.BytesIO()
    Image.fromarray(DIGITS[0]).save(buffer, "JPEG")
    pictures = [encode_png(DIGITS[0]), buffer.getvalue()]
    assert cut(pictures) == [Batch(PICTURES, ["#0", "#1"], pictures)]
    assert cut(pictures[0]) == [Batch(PICTURES, ["#0"], pictures[:1])]


def test_an_input_is_bounded():
    picture = encode_png(DIGITS[0])
    assert cut(picture, max_bytes=len(picture))
    with pytest.raises(InputError, match=r"#0: [\d,]+ bytes; at most [\d,]+ can be sent"):
        cut(picture, max_bytes=len(picture) - 1)


def test_a_batch_is_bounded_by_what_a_message_may_hold():
    assert [len(batch.values) for batch in cut(DIGITS, max_bytes=2 * 784)] == [2, 1]


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("", {}, "expected grpc://HOST:PORT"),
        ("localhost:8500", {}, "localhost:8500: expected grpc://HOST:PORT, grpcs://HOST:PORT"),
        ("ftp://localhost:8500", {}, "ftp://localhost:8500: expected grpc://HOST:PORT"),
        ("http://", {}, "expected grpc://HOST:PORT"),
        ("http://localhost:x", {}, "expected grpc://HOST:PORT"),
        ("http://localhost:99999", {}, "expected grpc://HOST:PORT"),
        ("http://local host\x00:80", {}, "http://local host"),
        ("http://h:8501?model=digits", {}, "more than an address; expected grpc://"),
        ("grpc://h:8500/v1/models/digits", {}, "more than an address; expected grpc://"),
        ("grpc://:8500", {}, "grpc://:8500: expected grpc://HOST:PORT"),
        ("grpc://localhost:x", {}, "expected grpc://HOST:PORT"),
        ("http://[::1", {}, "expected grpc://HOST:PORT"),
        ("grpc://localhost", {}, "grpc://localhost: no port; TF Serving's for gRPC is 8500"),
        ("grpc://localhost:8500", {"version": 1, "label": "a"}, "exclude each other"),
        ("grpc://localhost:8500", {"version": -1}, "version -1; expected a number"),
        ("grpc://localhost:8500", {"version": 2**63}, "expected a number"),
        ("grpc://localhost:8500", {"model": ""}, "the name of the model, or .* is empty"),
        ("grpc://localhost:8500", {"label": ""}, "of the version's label, is empty"),
        ("grpc://localhost:8500", {"timeout": 0}, "time-out 0; expected seconds, more than 0"),
        ("grpc://localhost:8500", {"timeout": float("nan")}, "time-out nan; expected seconds"),
        ("grpc://localhost:8500", {"retries": 5}, "5 retries; expected 0 to 4"),
        ("grpc://localhost:8500", {"batch_size": 0}, "batch size 0; expected 1 or more"),
        ("http://localhost:8501", {"round_robin": True}, "round_robin is for gRPC"),
    ],
)
def test_options_without_sense(address, options, message):
    with pytest.raises(InputError, match=message):
        Client(address, **options)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("grpc://host:8500", "dns:///host:8500"),
        ("grpcs://[::1]:8500", "dns:///[::1]:8500"),
        ("dns:///headless.ns.svc:8500", "dns:///headless.ns.svc:8500"),
        ("unix:/run/serving.sock", "unix:/run/serving.sock"),
    ],
)
def test_addresses_of_grpc(address, target):
    with Client(address, round_robin=True) as client:
        assert client._endpoint.grpc_target == target


@pytest.mark.parametrize(
    ("address", "options", "url"),
    [
        ("http://h:8501", {}, "http://h:8501/v1/models/digits:predict"),
        ("http://h/base/", {"version": 3}, "http://h/base/v1/models/digits/versions/3:predict"),
        (
            "https://h",
            {"model": "a/b", "label": "c d"},
            "https://h/v1/models/a%2Fb/labels/c%20d:predict",
        ),
    ],
)
def test_addresses_of_rest(address, options, url):
    with Client(address, **options) as client:
        assert client._endpoint.predict_url == url
