"""Models pushed to, and data read from, an object store that runs."""

import json
from pathlib import Path

import pytest

from components.baseline import LatestPushedModel
from components.object_store import copy_in, is_remote, local_copy
from components.pushers import _version_of
from components.versions import SAVED_MODEL_FILE, publish, versions
from serving.errors import InputError
from tests.kubeflow.object_store import MINIO_VARIABLE, ObjectStore, find_minio

MODELS = {
    "source_saved_model_sha256": "b",
    "variants": [{"name": "uint8", "sha256": "a"}],
    "version": 9000000000,
}
OTHERS = {**MODELS, "variants": [{"name": "uint8", "sha256": "c"}]}


@pytest.fixture
def base(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty directory, with the environment that a container has."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.secret["accesskey"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret["secretkey"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.secret["endpoint"])
    return f"s3://digits/{tmp_path.name}"


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    (directory / "variables").mkdir(parents=True)
    (directory / SAVED_MODEL_FILE).write_text("graph")
    (directory / "variables" / "data").write_text("weights")
    return directory


def push(directory: Path, base: str, version: str) -> str:
    return publish(str(directory), base, version, last=SAVED_MODEL_FILE)


def test_a_version_goes_there_and_comes_back(base, saved_model, tmp_path):
    assert is_remote(base)
    assert versions(base, holding=SAVED_MODEL_FILE) == []
    for version in ("7", "10"):
        assert push(saved_model, base, version) == f"{base}/{version}"
    assert versions(base, holding=SAVED_MODEL_FILE) == [7, 10]
    copy_in(f"{base}/10", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "variables" / "data").read_text() == "weights"


def test_half_a_version_is_none_and_is_completed(base, saved_model, store):
    store.upload(saved_model / "variables", f"{base}/7/variables")
    assert versions(base, holding=SAVED_MODEL_FILE) == []
    push(saved_model, base, "7")
    assert versions(base, holding=SAVED_MODEL_FILE) == [7]


def test_the_file_that_makes_a_version_comes_last(base, saved_model, monkeypatch):
    from pyarrow import fs

    copied = []
    copy_files = fs.copy_files

    def watch(source: str, *args: object, **options: object) -> None:
        copied.append(Path(source).name)
        copy_files(source, *args, **options)

    monkeypatch.setattr(fs, "copy_files", watch)
    push(saved_model, base, "7")
    assert copied == ["data", SAVED_MODEL_FILE]


def test_the_same_models_keep_their_version(base, store, tmp_path):
    description = tmp_path / "model.json"
    description.write_text(json.dumps(MODELS))
    store.upload(description, f"{base}/9000000000/model.json")
    assert _version_of(MODELS, base) == 9000000000
    assert _version_of(OTHERS, base) == 9000000001


@pytest.mark.parametrize("pushed", [[], ["7"], ["7", "10"]])
def test_the_baseline_is_the_newest_version_or_empty(base, saved_model, tmp_path, pushed):
    from tfx.types import standard_artifacts

    from components.evaluation import is_empty

    for version in pushed:
        (saved_model / SAVED_MODEL_FILE).write_text(version)
        push(saved_model, base, version)
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "baseline")
    Path(model.uri).mkdir()
    executor = LatestPushedModel.EXECUTOR_SPEC.executor_class()
    executor.Do({}, {"model": [model]}, {"base_directory": base})
    assert is_empty(model) == (not pushed)
    if pushed:
        path = Path(model.uri, "Format-Serving", SAVED_MODEL_FILE)
        assert path.read_text() == pushed[-1]


def test_data_may_be_a_directory_or_a_file(base, store, idx_directory):
    store.upload(idx_directory, f"{base}/idx")
    with local_copy(f"{base}/idx") as copy:
        assert sorted(p.name for p in Path(copy).iterdir()) == sorted(
            p.name for p in idx_directory.iterdir()
        )
    file = next(idx_directory.iterdir())
    store.upload(file, f"{base}/{file.name}")
    with local_copy(f"{base}/{file.name}") as copy:
        assert Path(copy).read_bytes() == file.read_bytes()
    assert not Path(copy).exists()


def test_what_is_not_there_is_said_in_one_line(base, tmp_path):
    with pytest.raises(InputError, match=rf"^{base}/no: nothing there; check the URI[^\n]*$"):
        copy_in(f"{base}/no", str(tmp_path / "copy"))


def test_the_store_is_the_minio_that_the_environment_names(tmp_path: Path, monkeypatch):
    binary = tmp_path / "minio"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv(MINIO_VARIABLE, str(binary))
    assert find_minio() == str(binary)
    monkeypatch.setenv(MINIO_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=f"{MINIO_VARIABLE}=.*nowhere: no such program; unset"):
        find_minio()
    monkeypatch.delenv(MINIO_VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_minio() == str(binary)
    monkeypatch.setenv("PATH", "")
    assert find_minio() is None
