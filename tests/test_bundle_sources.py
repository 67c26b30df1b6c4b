"""The sources in a bundle: compiled, run, and compared with the reference on the same pictures.

What compiles against Android and links TensorFlow Lite's C library needs `make native-libraries`;
without it these tests are skipped.
"""

import ctypes
import importlib.util
import json
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from export import verify
from export.edge_model import MODEL_FILE
from serving.pictures import centre_digit, encode_png, to_grey

REPOSITORY = Path(__file__).parents[1]
LIBRARIES = REPOSITORY / "build" / "native-libraries"
HARNESS = REPOSITORY / "tests" / "native" / "CentrePictures.kt"
WARNINGS = ["-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]


@pytest.fixture(scope="module")
def bundle(pipeline_run) -> Path:
    return pipeline_run.root / "edge" / pipeline_run.versions()["edge"][0]


@pytest.fixture(scope="module")
def pictures(bundle) -> list[np.ndarray]:
    """The golden pictures, and odd ones: uint8 [height, width] or [height, width, channels]."""
    golden = [np.asarray(Image.open(p)) for p in sorted((bundle / "golden/pictures").iterdir())]
    random = np.random.default_rng(11)
    stroke = np.full((90, 160, 3), 240, np.uint8)
    stroke[20:70, 75:80] = (30, 10, 60)
    sizes = ((1, 1), (1, 40), (50, 1), (3, 200), (29, 27), (19, 21))
    noise = [random.integers(0, 256, size).astype(np.uint8) for size in sizes]
    return [
        *golden,
        stroke,
        stroke.transpose(1, 0, 2),
        random.integers(0, 256, (33, 44, 4)).astype(np.uint8),
        random.integers(0, 256, (25, 31, 2)).astype(np.uint8),
        np.full((30, 20), 128, np.uint8),  # no digit
        *noise,
    ]


@pytest.fixture(scope="module")
def expected(pictures) -> np.ndarray:
    """What the reference makes of them: uint8 [n, 28, 28]."""
    return np.stack([centre_digit(to_grey(encode_png(picture))) for picture in pictures])


def assert_within_one_grey_level(found: np.ndarray, expected: np.ndarray) -> None:
    assert expected.any((1, 2)).sum() > 20
    assert np.abs(found.reshape(expected.shape).astype(int) - expected).max() <= 1


def library(pattern: str) -> Path:
    found = sorted(LIBRARIES.glob(pattern))
    if not found:
        pytest.skip(f"{pattern} is not in build/native-libraries: make native-libraries")
    return found[-1]


def unpacked(archive: Path, member: str, directory: Path) -> Path:
    """A folder or file out of an archive."""
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if name.startswith(member):
                file.extract(name, directory)
    return directory / member


class TestPython:
    @pytest.fixture(scope="class")
    def module(self, bundle) -> ModuleType:
        spec = importlib.util.spec_from_file_location("digits", bundle / "sources/python/digits.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_preprocessing(self, module, pictures, expected):
        found = [
            module.centre_digit(module.to_grey(Image.fromarray(picture))) for picture in pictures
        ]
        np.testing.assert_array_equal(np.stack(found), expected)

    def test_answers(self, module, bundle):
        digits = np.fromfile(bundle / "golden/digits.bin", np.uint8).reshape(-1, 28, 28)[:20]
        found = np.stack([module.classify(digit) for digit in digits])
        scores = verify.run((bundle / MODEL_FILE).read_bytes(), digits)
        np.testing.assert_array_equal(found, scores / np.float32(256))

    def test_as_a_command(self, bundle):
        picture = bundle / "golden/pictures/02.png"
        command = [sys.executable, bundle / "sources/python/digits.py", picture]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        label, probability = done.stdout.split()
        centred = np.fromfile(bundle / "golden/pictures.bin", np.uint8).reshape(-1, 28, 28)[2:3]
        (scores,) = verify.run((bundle / MODEL_FILE).read_bytes(), centred)
        assert (int(label), float(probability)) == (scores.argmax(), scores.max() / 256)


class _Picture(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_char_p),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("channels", ctypes.c_size_t),
    )


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
class TestC:
    @pytest.fixture(scope="class")
    def centre(self, bundle, tmp_path_factory):
        library = tmp_path_factory.mktemp("c") / "centre_digit.so"
        source = bundle / "sources/c/centre_digit.c"
        command = ["cc", "-std=c99", *WARNINGS, "-shared", "-fPIC", source, "-o", library, "-lm"]
        subprocess.run(command, check=True)
        function = ctypes.CDLL(str(library)).digits_centre

        def run(picture: np.ndarray) -> np.ndarray:
            height, width, *channels = picture.shape
            argument = _Picture(picture.tobytes(), width, height, *(channels or [1]))
            digit = np.full((28, 28), 77, np.uint8)
            function(ctypes.byref(argument), digit.ctypes.data_as(ctypes.c_void_p))
            return digit

        return run

    def test_preprocessing(self, centre, pictures, expected):
        found = np.stack([centre(picture) for picture in pictures])
        assert_within_one_grey_level(found, expected)

    def test_a_picture_without_pixels_is_empty(self, centre):
        assert not centre(np.zeros((0, 5), np.uint8)).any()

    def test_it_stays_within_its_memory(self, bundle, pictures, expected, tmp_path):
        """The same under the compiler's sanitizers, which end the program at the first fault."""
        (tmp_path / "main.c").write_text(
            '#include "centre_digit.h"\n#include <stdio.h>\n#include <stdlib.h>\n'
            "int main(void) {\n"
            "  size_t shape[3];\n"
            "  while (fread(shape, sizeof shape, 1, stdin)) {\n"
            "    const size_t size = shape[0] * shape[1] * shape[2];\n"
            "    uint8_t *pixels = malloc(size), digit[784];\n"
            "    if (fread(pixels, 1, size, stdin) != size) return 1;\n"
            "    const DigitsPicture picture = {pixels, shape[1], shape[0], shape[2]};\n"
            "    digits_centre(&picture, digit);\n"
            "    fwrite(digit, sizeof digit, 1, stdout);\n"
            "    free(pixels);\n"
            "  }\n"
            "  return 0;\n"
            "}\n"
        )
        c = bundle / "sources/c"
        command = ["cc", "-std=c99", *WARNINGS, "-g", "-fsanitize=address,undefined"]
        command += ["-fno-sanitize-recover=all", "-I", str(c), "main.c", str(c / "centre_digit.c")]
        subprocess.run([*command, "-o", "main", "-lm"], cwd=tmp_path, check=True)
        shapes = [(*picture.shape, 1)[:3] for picture in pictures]
        data = b"".join(
            struct.pack("3N", *shape) + picture.tobytes()
            for shape, picture in zip(shapes, pictures, strict=True)
        )
        done = subprocess.run([tmp_path / "main"], input=data, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert_within_one_grey_level(np.frombuffer(done.stdout, np.uint8), expected)


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
class TestCpp:
    @pytest.fixture(scope="class")
    def program(self, bundle, tmp_path_factory) -> Path:
        directory = tmp_path_factory.mktemp("cpp")
        headers = unpacked(library("tensorflow-lite-2.1*.aar"), "headers/", directory)
        name = "org/bytedeco/tensorflowlite/linux-x86_64/libjnitensorflowlite.so"
        shared = unpacked(library("tensorflow-lite-*-linux-x86_64.jar"), name, directory)
        sources = bundle / "sources"
        for command in (
            [
                "c++",
                "-std=c++17",
                *WARNINGS,
                "-isystem",
                headers,
                "-c",
                sources / "cpp/classify.cpp",
            ],
            ["cc", "-std=c99", *WARNINGS, "-c", sources / "c/centre_digit.c"],
            [
                "c++",
                "classify.o",
                "centre_digit.o",
                shared,
                f"-Wl,-rpath,{shared.parent}",
                "-o",
                "classify",
            ],
        ):
            subprocess.run(command, cwd=directory, check=True)
        return directory / "classify"

    def run(self, program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)

    def test_answers(self, program, bundle, pictures, expected, tmp_path):
        """Written as it reads them: what is transparent on white."""
        (variant,) = (
            variant
            for variant in json.loads((bundle / "model.json").read_text())["variants"]
            if variant["file"] == MODEL_FILE
        )
        tolerance = variant["kernel_tolerance"]
        scores = verify.run((bundle / MODEL_FILE).read_bytes(), expected, verify.BUILT_IN)
        probabilities = verify.probabilities(scores, variant["output"])
        for index, picture in enumerate(pictures[:23]):
            image = Image.fromarray(picture)
            path = tmp_path / ("x.pgm" if image.mode == "L" else "x.ppm")
            if image.mode == "RGBA":
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image).convert("RGB")
            image.save(path)
            done = self.run(program, bundle / MODEL_FILE, path)
            assert done.returncode == 0, done.stderr
            label, probability = done.stdout.split()
            of_label = probabilities[index, int(label)]
            assert abs(float(probability) - of_label) <= tolerance
            assert of_label >= probabilities[index].max() - 2 * tolerance

    def test_it_runs_its_own_library(self, program, bundle):
        """Not Python's: its only loader is the library that was linked."""
        done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        assert "libjnitensorflowlite.so" in done.stdout

    def test_bad_files_are_told(self, program, bundle, tmp_path):
        for content in (b"", b"P6\n2 2\n255\n123", b"P6\n99999999 99999999\n255\n", b"P7\n1 1\n"):
            (tmp_path / "x.ppm").write_bytes(content)
            done = self.run(program, bundle / MODEL_FILE, tmp_path / "x.ppm")
            assert done.returncode == 2
            assert "no binary PPM or PGM picture" in done.stderr
        (tmp_path / "x.pgm").write_bytes(b"P5\n1 1\n255\n1")
        done = self.run(program, bundle / "labels.txt", tmp_path / "x.pgm")
        assert done.returncode == 2
        assert "no model that TensorFlow Lite can run" in done.stderr


@pytest.mark.skipif(not shutil.which("java"), reason="no Java")
class TestKotlin:
    @pytest.fixture(scope="class")
    def classes(self, bundle, tmp_path_factory) -> Path:
        """All of it, compiled by Kotlin's own compiler against Android's and LiteRT's classes."""
        directory = tmp_path_factory.mktemp("kotlin")
        against = [library("kotlin-stdlib-2*.jar"), library("android-all-*.jar")]
        for name in ("tensorflow-lite-2.1*.aar", "tensorflow-lite-api-*.aar"):
            archive = library(name)
            against.append(unpacked(archive, "classes.jar", directory / archive.stem))
        compiler = [p for p in LIBRARIES.glob("*.jar") if "android" not in p.name]
        command = ["java", "-cp", ":".join(map(str, compiler))]
        command += ["org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib", "-no-reflect"]
        command += ["-Werror", "-cp", ":".join(map(str, against)), "-d", str(directory / "classes")]
        sources = sorted((bundle / "sources/kotlin").glob("*.kt"))
        done = subprocess.run([*command, *sources, HARNESS], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return directory / "classes"

    def test_all_of_it_compiles(self, classes):
        names = {path.stem for path in (classes / "digits").iterdir()}
        assert {"CentreDigit", "DigitClassifier", "DigitClassifier$Answer"} <= names

    def test_preprocessing(self, classes, pictures, expected, tmp_path):
        argb = [np.asarray(Image.fromarray(p).convert("RGBA"))[..., [3, 0, 1, 2]] for p in pictures]
        content = struct.pack(">i", len(argb))
        for picture in argb:
            content += struct.pack(">2i", picture.shape[1], picture.shape[0]) + picture.tobytes()
        (tmp_path / "pictures").write_bytes(content)
        path = ":".join(map(str, (classes, library("kotlin-stdlib-2*.jar"))))
        command = ["java", "-cp", path, "digits.CentrePicturesKt", "pictures", "digits"]
        subprocess.run(command, cwd=tmp_path, check=True)
        found = np.fromfile(tmp_path / "digits", np.uint8)
        assert_within_one_grey_level(found, expected)


@pytest.mark.skipif(not shutil.which("swiftc"), reason="no Swift compiler")
def test_swift_preprocessing_compiles(bundle):
    """Without Apple's frameworks: the file that needs none."""
    source = bundle / "sources/swift/CentreDigit.swift"
    subprocess.run(["swiftc", "-typecheck", "-warnings-as-errors", source], check=True)


def test_sources_share_the_parameters_of_the_reference(bundle):
    """Each states them once; the readme states them in words."""
    for name in (
        "python/digits.py",
        "c/centre_digit.c",
        "kotlin/CentreDigit.kt",
        "swift/CentreDigit.swift",
    ):
        text = (bundle / "sources" / name).read_text()
        for figure in ("0.299", "0.587", "0.114", "14.5", "16.0"):
            assert text.count(figure) == 1, f"{figure} in {name}"
    readme = (bundle / "README.md").read_text()
    assert "grey = 0.299 R + 0.587 G + 0.114 B" in readme
    assert "nearest to (14.5, 14.5)" in readme
