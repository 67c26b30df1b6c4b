import fcntl
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.pictures import encode_png
from tests.conftest import write_idx
from tests.documents import ROOT

HEAVY = {
    "tensorflow",
    "keras",
    "tfx",
    "apache_beam",
    "pandas",
    "ai_edge_litert",
    "scipy",
    "matplotlib",
    "pydantic",
}


def imported(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_version_is_that_of_the_package(digits):
    outcome = digits("--version")
    assert (outcome.code, outcome.out) == (0, f"digits {metadata.version('digits')}\n")


def test_the_command_line_starts_without_heavy_libraries():
    assert not HEAVY & imported("import pipeline.cli; pipeline.cli._parser()")


def test_serving_imports_no_tensorflow():
    assert not HEAVY & imported("import serving.predict, serving.pictures, serving.errors")


def test_releases_are_changed_without_tensorflow():
    code = "import pipeline.release.change, pipeline.release.show, pipeline.release.prune"
    assert not HEAVY & imported(code)


def test_the_edge_runtime_imports_litert_only():
    heavy = HEAVY & imported("import export.edge_model, export.verify")
    assert heavy == {"ai_edge_litert"}


def test_model_prints_the_seed_texts_layer_table(digits):
    outcome = digits("model")
    assert outcome.code == 0
    for number in ("320", "18,496", "36,928", "650", "93,322"):
        assert number in outcome.out


def test_data_prints_counts_and_writes_a_contact_sheet(digits, tmp_path: Path, sample):
    outcome = digits("data", "--out", tmp_path)
    assert outcome.code == 0
    assert "4,000" in outcome.out
    sheet = np.asarray(Image.open(tmp_path / "digits.png").resize((602, 302), 0))
    assert sheet.shape == (302, 602)
    first_seven = sample[0][sample[1] == 7][0]
    np.testing.assert_array_equal(sheet[2 + 7 * 30 :][:28, 2:30], first_seven)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--data", "nowhere"], "--data nowhere: no such file or directory"),
        (["run", "--min-accuracy", "98"], "98: expected a number from 0 to 1"),
        (["run", "--epochs", "0"], "0: expected a positive integer"),
        (["run", "--epochs", "many"], "many: expected a positive integer"),
        (["run", "--epochs", "9" * 30], "expected a positive integer, at most 2147483647"),
        (["run", "--seed", "-1"], "-1: expected an integer from 0 to 2147483647"),
        (["run", "--root", ""], "argument --root: empty; name a path"),
        (["run", "--root", "~nobody-here/x"], "~nobody-here/x: no such user"),
        (["run", "--root", "[x]"], "/[x]: TFX takes *, ?, [ and line breaks for patterns"),
        (["run", "--root", "a\nb"], "/a\\nb: TFX takes *, ?, [ and line breaks for patterns"),
        (["run", "--data", "/dev/zero"], "--data /dev/zero: unknown kind of file"),
        (["run", "--data", "x" * 5000], ": File name too long"),
        (["run", "--data", "~nobody-here/x"], "--data ~nobody-here/x: no such user"),
        (["run", "--recipe", "secret"], "invalid choice: 'secret'"),
        (["run", "--root", "/dev/null/run"], "--root /dev/null/run: Not a directory"),
        (["data", "--data", "nowhere"], "--data nowhere: no such file or directory"),
        (["data", "--out", "/dev/null/out"], "--out /dev/null/out: Not a directory"),
        (["predict", "--root", "nowhere", "a.png"], "no pushed model; run `digits run` first"),
        (["predict"], "the following arguments are required: FILE"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_bad_usage_exits_with_2_and_says_why(digits, arguments, message):
    outcome = digits(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.startswith("digits: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        ("> /dev/full", 1, "digits: no space left on the disk; free some, and run this again\n"),
        (">&- 2>&- <&-", 0, ""),
        ("> sheet.txt", 0, ""),
    ],
)
def test_output_may_go_anywhere(tmp_path, redirection, code, message):
    done = subprocess.run(
        f"{sys.executable} -m pipeline.cli data --out . {redirection}",
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (code, message)
    if code == 0:
        with Image.open(tmp_path / "digits.png") as sheet:
            sheet.verify()


def test_bad_data_stops_the_run_with_one_line_and_leaves_nothing(digits, idx_directory, tmp_path):
    labels = np.zeros(200, np.uint8)
    labels[150] = 77
    write_idx(idx_directory / "train-labels-idx1-ubyte", labels)
    root = tmp_path / "run"
    outcome = digits("run", "--data", idx_directory, "--root", root)
    assert outcome.code == 2
    assert outcome.err == (
        f"digits: {idx_directory}/train-labels-idx1-ubyte: label 77 of digit 150; expected 0 to 9\n"
    )
    assert not list((root / "artifacts" / "ExampleGen").glob("examples/*"))
    assert not (root / "serving").exists()
    assert not (root / "summary.json").exists()


def test_two_runs_do_not_share_a_root(digits, tmp_path):
    with (tmp_path / "run.log").open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        outcome = digits("run", "--root", tmp_path)
    assert outcome.code == 2
    assert "another run is using it" in outcome.err


def test_an_internal_error_shows_the_log_and_its_own_exit_code(digits, monkeypatch):
    import pipeline.inspect

    def fail(*_):
        print("what a library wrote", file=sys.stderr)
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(pipeline.inspect, "show_model", fail)
    outcome = digits("model")
    assert outcome.code == 70
    assert "what a library wrote" in outcome.err
    assert "internal error: ZeroDivisionError: oops" in outcome.err


def test_predict_refuses_bad_pictures_by_name(digits, pipeline_run, tmp_path):
    good = tmp_path / "good.png"
    good.write_bytes(encode_png(np.eye(28, dtype=np.uint8) * 255))
    for name, content, message in (
        ("empty.png", b"", "empty file; expected a PNG or JPEG picture"),
        ("text.png", b"hello", "not a readable PNG or JPEG picture"),
        ("cut.png", encode_png(np.eye(200, dtype=np.uint8) * 255)[:150], "not a readable PNG"),
        ("missing.png", None, "No such file or directory"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        outcome = digits("predict", "--root", pipeline_run.root, good, path)
        assert outcome.code == 2
        assert outcome.err.startswith(f"digits: {path}: {message}")
        assert outcome.err.count("\n") == 1
        assert not outcome.out
