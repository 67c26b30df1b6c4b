"""What `digits verify-bundle`, and `verify.py` in the bundle itself, say of sound and bad ones."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export import verify
from export.edge_model import MODEL_FILE


@pytest.fixture(scope="module")
def pushed(pipeline_run) -> Path:
    return pipeline_run.root / "edge" / pipeline_run.versions()["edge"][0]


@pytest.fixture
def bundle(pushed, tmp_path) -> Path:
    """A copy that may be damaged, with the default variant only, and without its zip."""
    copy = tmp_path / "bundle"
    shutil.copytree(pushed, copy, ignore=shutil.ignore_patterns("*.zip"))
    describe(copy, lambda d: d.update(variants=[v for v in d["variants"] if v["name"] == "uint8"]))
    return copy


def describe(bundle: Path, change: Callable[[dict], object]) -> None:
    """Edits the description, so that the checksums fit again."""
    path = bundle / "model.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))
    sign(bundle)


def sign(bundle: Path) -> None:
    """Makes the checksums anew: what follows is found by more than them."""
    files = sorted(p for p in bundle.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(bundle)}\n" for p in files
    ]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def replace_model(bundle: Path, content: bytes) -> None:
    """Puts another model in, with all hashes right."""
    (bundle / MODEL_FILE).write_bytes(content)
    described = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    describe(bundle, lambda d: d["variants"][0].update(described))


def truncate(bundle: Path) -> None:
    path = bundle / MODEL_FILE
    path.write_bytes(path.read_bytes()[:50_000])


def flip(path: Path, place: int, bits: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= bits
    path.write_bytes(content)


def as_zip(bundle: Path) -> Path:
    path = bundle.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in bundle.rglob("*") if p.is_file()):
            archive.write(file, Path("digits", file.relative_to(bundle)))
    return path


def test_the_pushed_zip_and_directory_are_sound(digits, pushed):
    names = [v["name"] for v in json.loads((pushed / "model.json").read_text())["variants"]]
    for path in (pushed, pushed / f"digits-{pushed.name}.zip"):
        outcome = digits("verify-bundle", path)
        assert (outcome.code, outcome.err) == (0, "")
        assert [line.partition(":")[0] for line in outcome.out.splitlines()] == names


def test_it_runs_alone_with_litert_and_numpy_only(pushed, tmp_path):
    """From the unpacked zip, where nothing of ours can be imported, nor TensorFlow nor Pillow."""
    with zipfile.ZipFile(pushed / f"digits-{pushed.name}.zip") as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    code = (
        "import runpy, sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in BANNED: raise ModuleNotFoundError(name)\n"
        "BANNED = {'tensorflow', 'keras', 'PIL', 'serving', 'export', 'pipeline', 'components'}\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "sys.argv = ['verify.py']\n"
        "runpy.run_path('verify.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env={}
    )
    assert done.returncode == 0, done.stderr
    variants = json.loads((folder / "model.json").read_text())["variants"]
    assert done.stdout.count("golden digits as expected") == len(variants)
    flip(folder / MODEL_FILE, 60_000)
    done = subprocess.run([sys.executable, "verify.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"verify: {folder}: {MODEL_FILE}: ")
    done = subprocess.run([sys.executable, "verify.py", "nowhere"], cwd=folder, capture_output=True)
    assert (done.returncode, done.stderr) == (2, b"verify: nowhere: No such file or directory\n")


DAMAGE = {
    "truncated model": (truncate, rf"{MODEL_FILE}: 50,000 bytes with sha256 \w+; SHA256SUMS says"),
    "flipped byte": (
        lambda b: flip(b / MODEL_FILE, 60_000),
        rf"{MODEL_FILE}: .* bytes with sha256",
    ),
    "empty model": (lambda b: (b / MODEL_FILE).write_bytes(b""), f"{MODEL_FILE}: 0 bytes with"),
    "missing model": (lambda b: (b / MODEL_FILE).unlink(), f"{MODEL_FILE}: missing"),
    "missing golden file": (
        lambda b: ((b / "golden/uint8.bin").unlink(), sign(b)),
        "golden/uint8.bin: named by model.json, but not in SHA256SUMS",
    ),
    "unlisted description": (
        lambda b: (b / "SHA256SUMS").write_text(""),
        "SHA256SUMS: does not list model.json",
    ),
    "truncated model, all hashes right": (
        lambda b: replace_model(b, (b / MODEL_FILE).read_bytes()[:50_000]),
        f"{MODEL_FILE}: LiteRT cannot run it",
    ),
    "empty model, all hashes right": (
        lambda b: replace_model(b, b""),
        f"{MODEL_FILE}: LiteRT cannot run it",
    ),
    "another variant's model": (
        lambda b: replace_model(b, (b / "models/int8.tflite").read_bytes()),
        f"{MODEL_FILE}: its input tensor is not the one that model.json describes",
    ),
    "a model that model.json does not describe": (
        lambda b: ((b / MODEL_FILE).write_bytes(b"x"), sign(b)),
        f"{MODEL_FILE}: not the model that model.json describes",
    ),
    "other answers expected": (
        lambda b: (flip(b / "golden/uint8.bin", 1234, 0x40), sign(b)),
        f"{MODEL_FILE}: other answers than expected to 1 of 256 golden digits",
    ),
    "too little tolerance for the default kernels": (
        lambda b: describe(b, lambda d: d["variants"][0].update(kernel_tolerance=1e-9)),
        f"{MODEL_FILE}: probabilities of LiteRT's default kernels differ by 0.",
    ),
    "short golden file": (
        lambda b: ((b / "golden/labels.bin").write_bytes(b"1"), sign(b)),
        r"golden/labels.bin: 1 bytes; expected uint8 \[256\]",
    ),
    "no JSON": (
        lambda b: ((b / "model.json").write_bytes(b"\xff{"), sign(b)),
        "model.json: .*decode",
    ),
    "JSON of another form": (
        lambda b: ((b / "model.json").write_text("[1]"), sign(b)),
        "model.json: expected an object with variants",
    ),
    "variant without a hash": (
        lambda b: describe(b, lambda d: d["variants"][0].pop("sha256")),
        "model.json: 'sha256' is missing or of the wrong type",
    ),
    "no golden digits": (
        lambda b: describe(b, lambda d: d["golden"].update(count=0)),
        "model.json: no golden digits",
    ),
    "an unknown dtype": (
        lambda b: describe(b, lambda d: d["variants"][0]["output"].update(dtype="object")),
        f"{MODEL_FILE}|golden/uint8.bin",
    ),
    "a golden file outside": (
        lambda b: describe(b, lambda d: d["golden"].update(digits="../../etc/passwd")),
        "../../etc/passwd: named by model.json, but not in SHA256SUMS",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_in_one_line(digits, bundle, damage):
    inflict, message = DAMAGE[damage]
    inflict(bundle)
    outcome = digits("verify-bundle", bundle)
    assert outcome.code == 1, outcome.err
    assert outcome.err.count("\n") == 1
    with pytest.raises(verify.Damaged, match=message):
        verify.verify(bundle)


def test_a_flipped_byte_in_the_zip_is_damage(digits, bundle):
    path = as_zip(bundle)
    assert digits("verify-bundle", path).code == 0
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"digits/{MODEL_FILE}")
    flip(path, member.header_offset + 1000)
    outcome = digits("verify-bundle", path)
    assert outcome.code == 1
    assert f"{MODEL_FILE}: damaged inside the zip" in outcome.err


def names(*members: str) -> Callable[[zipfile.ZipFile], None]:
    return lambda archive: [archive.writestr(member, b"x") for member in members] and None


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("digits/bomb", bytes(verify.MAX_BYTES + 1))


def lying_bomb(archive: zipfile.ZipFile) -> None:
    """Ten thousand bytes that say that they are ten."""
    archive.writestr("digits/SHA256SUMS", bytes(10_000))
    archive.getinfo("digits/SHA256SUMS").file_size = 10


def link(archive: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("digits/model.json")
    member.external_attr = 0o120777 << 16
    archive.writestr(member, "/etc/passwd")


ZIPS = {
    "bomb": (bomb, 2, "too large; a bundle has at most 500 files and"),
    "lying bomb": (lying_bomb, 1, "SHA256SUMS: damaged inside the zip: Bad CRC-32"),
    "many members": (names(*map(str, range(501))), 2, "too large"),
    "path traversal": (names("digits/../../evil"), 2, "leads out of the bundle"),
    "absolute path": (names("/etc/evil"), 2, "leads out of the bundle"),
    "backslashes": (names("digits\\..\\evil"), 2, "leads out of the bundle"),
    "link": (link, 2, "leads out of the bundle"),
    "twice": (names("digits/model.json", "other/model.json"), 2, "two members named"),
    "empty": (names(), 2, "no SHA256SUMS; expected a bundle"),
}


@pytest.mark.parametrize("fault", ZIPS)
def test_unsafe_zips_are_refused(digits, tmp_path, fault):
    write, code, message = ZIPS[fault]
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    outcome = digits("verify-bundle", path)
    assert outcome.code == code
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle.zip"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x89PNG"])
def test_what_is_no_zip_is_bad_input(digits, tmp_path, content):
    path = tmp_path / "bundle.zip"
    path.write_bytes(content)
    outcome = digits("verify-bundle", path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "not a zip that can be read" in outcome.err


def test_a_device_is_bad_input(digits):
    outcome = digits("verify-bundle", "/dev/zero")
    assert outcome.code == 2
    assert outcome.err == "digits: /dev/zero: neither a file nor a directory\n"


def test_what_is_not_there_is_bad_input(digits, tmp_path):
    assert digits("verify-bundle", tmp_path / "nowhere").code == 2
    outcome = digits("verify-bundle", tmp_path)
    assert outcome.code == 2
    assert "no SHA256SUMS; expected a bundle that `digits run` pushed" in outcome.err


def test_names_in_a_bundle_move_no_cursor(bundle):
    (bundle / "SHA256SUMS").write_text(f"{0:064}  \x1b[2Jmodel.json\n")
    with pytest.raises(verify.Damaged) as refused:
        verify.verify(bundle)
    assert str(refused.value) == "?[2Jmodel.json: missing"


def test_batches_and_channels_are_the_models_own(pushed):
    """One by one in grey, and the colour twin, whatever the number of digits."""
    digits = np.fromfile(pushed / "golden/digits.bin", np.uint8).reshape(-1, 28, 28)
    content = (pushed / "models/uint8_rgb.tflite").read_bytes()
    whole = verify.run(content, digits[:5])
    assert whole.shape == (5, 10)
    np.testing.assert_array_equal(verify.run(content, digits[:2]), whole[:2])
