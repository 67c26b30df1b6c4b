"""The bundle that a run pushes."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import flatbuffers
import jsonschema
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from components.examples import lowest_hashed
from components.model import NETWORKS
from export import bundle as bundles
from export import metadata, verify
from export.edge_model import DEFAULT_VARIANT, MODEL_FILE, EdgeModel
from export.micro import MicroModel, arena_bytes
from export.tflite import convert
from serving.pictures import centre_digit, to_grey


@pytest.fixture(scope="module")
def bundle(pipeline_run) -> Path:
    return pipeline_run.root / "edge" / pipeline_run.versions()["edge"][0]


@pytest.fixture(scope="module")
def description(bundle) -> dict:
    return json.loads((bundle / "model.json").read_text())


def validator(bundle: Path) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((bundle / "model.schema.json").read_text()))


def test_the_description_follows_its_schema(bundle, description):
    assert list(validator(bundle).iter_errors(description)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["variants"], []),
        (["variants", 0, "input", "scale"], 0),
        (["variants", 0, "file"], "../model.tflite"),
        (["preprocessing", "polarity"], "black on white"),
        (["data_sha256"], "unknown"),
        (["golden", "count"], "256"),
    ],
)
def test_the_schema_refuses(bundle, description, path, value):
    changed = json.loads(json.dumps(description))
    *way, key = path
    inner = changed
    for step in way:
        inner = inner[step]
    inner[key] = value
    assert list(validator(bundle).iter_errors(changed))


def test_all_files_have_checksums(bundle):
    listed = {line.split("  ")[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    there = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert there - listed == {"SHA256SUMS", f"digits-{bundle.name}.zip"}
    assert listed < there
    assert {"labels.txt", "README.md", "verify.py", "sources/kotlin/CentreDigit.kt"} < listed


def test_the_zip_holds_the_same_files_and_is_made_again_byte_for_byte(bundle, tmp_path):
    path = bundle / f"digits-{bundle.name}.zip"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    copy = tmp_path / f"digits-{bundle.name}"
    for file in (p for p in bundle.rglob("*") if p.is_file() and p != path):
        assert (copy / file.relative_to(bundle)).read_bytes() == file.read_bytes()
    (copy / "SHA256SUMS").unlink()
    assert bundles.seal(copy).read_bytes() == path.read_bytes()


def test_golden_digits_are_of_the_test_split_and_come_in_any_order(bundle, description, sample):
    count = description["golden"]["count"]
    assert count >= 200
    digits = np.fromfile(bundle / "golden/digits.bin", np.uint8).reshape(count, 784)
    labels = np.fromfile(bundle / "golden/labels.bin", np.uint8)
    truth = {image.tobytes(): label for image, label in zip(*sample, strict=True)}
    assert [truth[digit.tobytes()] for digit in digits] == labels.tolist()
    hashes = [hashlib.sha256(digit.tobytes()).digest() for digit in digits]
    assert hashes == sorted(hashes)


def test_microcontrollers_give_the_golden_bytes(bundle, description):
    """An engine that had no part in making them; its softmax may differ in the last bit."""
    digits = np.fromfile(bundle / "golden/digits.bin", np.uint8).reshape(-1, 28, 28)
    integers = [v for v in description["variants"] if v["output"]["dtype"] != "float32"]
    assert DEFAULT_VARIANT in [variant["name"] for variant in integers]
    for variant in integers:
        answers = MicroModel((bundle / variant["file"]).read_bytes()).run(digits)
        expected = np.fromfile(bundle / variant["golden"], answers.dtype).reshape(-1, 10)
        difference = np.abs(answers.astype(int) - expected)
        assert difference.max() <= 1, variant["name"]
        assert (difference.max(1) == 0).mean() > 0.99, variant["name"]


def test_golden_probabilities_are_what_the_app_gets(bundle, description):
    digits = np.fromfile(bundle / "golden/digits.bin", np.uint8).reshape(-1, 28, 28)
    for variant in description["variants"]:
        stored = np.fromfile(bundle / variant["golden"], variant["output"]["dtype"])
        expected = verify.probabilities(stored.reshape(-1, 10), variant["output"])
        found = EdgeModel(bundle / variant["file"]).predict(digits)
        assert np.abs(found - expected).max() <= variant["kernel_tolerance"], variant["name"]


def test_golden_pictures_end_as_the_reference_ends(bundle, description):
    names = description["golden"]["pictures"]
    centred = np.fromfile(bundle / "golden/pictures.bin", np.uint8).reshape(-1, 28, 28)
    assert len(names) == len(centred) == bundles.GOLDEN_PICTURES
    for name, expected in zip(names, centred, strict=True):
        found = centre_digit(to_grey((bundle / name).read_bytes()))
        np.testing.assert_array_equal(found, expected)
        assert expected.any()


class TestMetadata:
    def test_every_model_says_what_it_is(self, bundle, description):
        for variant in description["variants"]:
            content = (bundle / variant["file"]).read_bytes()
            about, labels = metadata.read(content)
            assert labels == (bundle / "labels.txt").read_text().split()
            assert about["licence"] == description["licence"]
            assert description["source_saved_model_sha256"].startswith(about["saved_model"])

    def test_a_model_without_it_is_told(self, bundle):
        content = (bundle / MODEL_FILE).read_bytes()
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        model.metadata = []
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        with pytest.raises(ValueError, match="no metadata"):
            metadata.read(bytes(builder.Output()))

    def test_it_changes_no_tensor_and_no_operator(self, bundle):
        content = (bundle / MODEL_FILE).read_bytes()
        again = metadata.embed(content, {"more": "words"}, ["a", "b"])
        before, after = (schema.ModelT.InitFromPackedBuf(c, 0) for c in (content, again))
        contents = [
            [b"" if b.data is None else bytes(b.data) for b in m.buffers] for m in (before, after)
        ]
        assert contents[1][:-1] == contents[0]
        digits = np.random.default_rng(5).integers(0, 256, (20, 28, 28)).astype(np.uint8)
        for run in (verify.run, lambda model, digits: MicroModel(model).run(digits)):
            np.testing.assert_array_equal(run(content, digits), run(again, digits))

    def test_weights_are_aligned(self, bundle):
        content = (bundle / MODEL_FILE).read_bytes()
        model = schema.Model.GetRootAs(content, 0)
        start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
        places = [
            model.Buffers(i).DataAsNumpy().__array_interface__["data"][0] - start
            for i in range(model.BuffersLength())
            if model.Buffers(i).DataLength()
        ]
        assert len(places) > 10
        assert {place % 16 for place in places} == {0}


def loads_in_micro(model: Path, arena_size: int) -> bool:
    """In a process of its own, for some arenas that are too small crash the runtime."""
    code = (
        "import sys\n"
        "from tflite_micro.python.tflite_micro.runtime import Interpreter\n"
        "Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", code, model, str(arena_size)], capture_output=True)
    return done.returncode == 0


class TestMicrocontrollers:
    def test_the_arena_is_enough_and_not_more_than_needed(self, bundle, description):
        arena = description["arena_bytes"]
        header = (bundle / "sources/micro/digits_model.h").read_text()
        assert f"#define DIGITS_ARENA_BYTES {arena}\n" in header
        assert loads_in_micro(bundle / MODEL_FILE, arena)
        assert not loads_in_micro(bundle / MODEL_FILE, arena - 64)

    def test_a_wide_layer_needs_an_arena_for_its_preparation(self, tmp_path):
        model = tmp_path / "dense.tflite"
        digits = np.random.default_rng(0).random((32, 28, 28, 1), np.float32)
        model.write_bytes(convert(NETWORKS["dense"](), digits)["uint8"])
        arena = arena_bytes(model.read_bytes())
        assert arena % 16 == 0
        assert loads_in_micro(model, arena)
        assert not loads_in_micro(model, arena - 1024)

    def test_what_the_runtime_cannot_load_has_none_and_makes_a_bundle(self, bundle, tmp_path):
        model = bundle / "models/float16.tflite"
        with pytest.raises(ValueError, match="cannot load"):
            arena_bytes(model.read_bytes())
        with pytest.raises(ValueError, match="cannot load"):
            arena_bytes(b"no model at all")
        other = shutil.copytree(bundle, tmp_path / "bundle")
        shutil.rmtree(other / "golden")
        shutil.copyfile(model, other / MODEL_FILE)
        bundles.assemble(other, np.zeros((32, 28, 28), np.uint8), np.zeros(32, np.int64))
        assert json.loads((other / "model.json").read_text())["arena_bytes"] is None

    def test_every_model_has_its_own_arena(self, bundle):
        larger = arena_bytes((bundle / "models/float32.tflite").read_bytes())
        assert larger > 2 * arena_bytes((bundle / MODEL_FILE).read_bytes())

    def test_where_it_was_not_measured_the_header_says_how(self, bundle, tmp_path):
        for size, compiles in ((32_000, True), (None, False)):
            path = tmp_path / "arena.h"
            path.write_text(bundles.arena_definition(size))
            done = subprocess.run(["cc", "-fsyntax-only", path], capture_output=True, text=True)
            assert (done.returncode == 0) == compiles
        assert "define DIGITS_ARENA_BYTES" in done.stderr
        assert f"python -m export.arena < {MODEL_FILE}" in path.read_text()

    def test_the_array_is_the_model(self, bundle, tmp_path):
        (tmp_path / "main.c").write_text(
            '#include "digits_model.h"\n#include <stdio.h>\n'
            "int main(void) { return !fwrite(digits_model, sizeof digits_model, 1, stdout); }\n"
        )
        command = ["cc", "-std=c11", "-Wall", "-Werror", "-I", bundle / "sources/micro", "main.c"]
        subprocess.run([*command, "-o", "main"], cwd=tmp_path, check=True)
        done = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
        assert done.stdout == (bundle / MODEL_FILE).read_bytes()

    def test_the_resolver_has_the_operators_of_the_model(self, bundle):
        source = (bundle / "sources/micro/digit_classifier.cc").read_text()
        assert "MicroMutableOpResolver<6>" in source
        for name in ("Conv2D", "FullyConnected", "MaxPool2D", "Quantize", "Reshape", "Softmax"):
            assert f"operators.Add{name}();" in source


def test_two_steps_of_the_logits_move_no_probability_further_than_the_tolerance(bundle):
    """Against random logits, each moved by two steps up or down."""
    model = schema.ModelT.InitFromPackedBuf((bundle / MODEL_FILE).read_bytes(), 0)
    (graph,) = model.subgraphs
    logits, *_ = (t for t in graph.tensors if list(t.shape) == [1, 10] and t.quantization.scale < 1)
    scale = float(logits.quantization.scale[0])
    tolerance = bundles.kernel_tolerance((bundle / MODEL_FILE).read_bytes())

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    random = np.random.default_rng(0)
    values = random.normal(0, 2, (20_000, 10))
    moved = values + 2 * scale * random.choice([-1, 1], values.shape)
    largest = np.abs(softmax(values) - softmax(moved)).max()
    assert tolerance / 2 < largest < tolerance


def test_a_bundle_can_be_assembled_of_the_default_variant_alone(bundle, tmp_path, sample):
    copy = tmp_path / "bundle"
    (copy / "models").mkdir(parents=True)
    for name in (MODEL_FILE, "labels.txt", "model.json"):
        shutil.copy(bundle / name, copy / name)
    described = json.loads((copy / "model.json").read_text())
    described["variants"] = [v for v in described["variants"] if v["name"] == DEFAULT_VARIANT]
    (copy / "model.json").write_text(json.dumps(described))
    bundles.assemble(copy, *lowest_hashed([sample], bundles.GOLDEN_DIGITS))
    bundles.seal(copy)
    (answer,) = verify.verify(copy)
    assert (answer.variant, answer.digits) == (DEFAULT_VARIANT, bundles.GOLDEN_DIGITS)
