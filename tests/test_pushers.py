import json
import os
import shutil
from pathlib import Path

import pytest

from components.pushers import _version_of
from components.versions import publish
from serving.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "variables").mkdir(parents=True)
    (tmp_path / "source" / "saved_model.pb").write_text("graph")
    (tmp_path / "source" / "variables" / "data").write_text("weights")
    return tmp_path / "source"


def test_a_version_appears_whole(source, tmp_path):
    base = tmp_path / "serving"
    path = Path(publish(str(source), str(base), "7", last="saved_model.pb"))
    assert path == base / "7"
    assert (path / "variables" / "data").read_text() == "weights"
    assert os.listdir(base) == ["7"]


def test_a_failed_copy_leaves_nothing(source, tmp_path, monkeypatch):
    base = tmp_path / "serving"
    publish(str(source), str(base), "7", last="saved_model.pb")

    def copy_half(src, dst, **_):
        shutil.copy(Path(src, "saved_model.pb"), dst)
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copytree", copy_half)
    with pytest.raises(OSError, match="No space left"):
        publish(str(source), str(base), "8", last="saved_model.pb")
    assert os.listdir(base) == ["7"]


def test_a_version_is_seen_only_when_it_is_complete(source, tmp_path, monkeypatch):
    base = tmp_path / "serving"
    seen = []
    rename = os.rename

    def watch(src, dst):
        seen.append([name for name in os.listdir(base) if name.isdecimal()])
        assert (Path(src) / "variables" / "data").exists()
        rename(src, dst)

    monkeypatch.setattr(os, "rename", watch)
    publish(str(source), str(base), "7", last="saved_model.pb")
    assert seen == [[]]


def test_a_version_that_is_there_is_left_alone(source, tmp_path):
    base = tmp_path / "serving"
    publish(str(source), str(base), "7", last="saved_model.pb")
    (base / "7" / "mark").touch()
    publish(str(source), str(base), "7", last="saved_model.pb")
    assert (base / "7" / "mark").exists()


def test_the_same_models_keep_their_version_and_others_get_a_higher(tmp_path):
    variants = [{"name": "uint8", "sha256": "a"}, {"name": "float32", "sha256": "c"}]
    models = {"source_saved_model_sha256": "b", "variants": variants}
    (tmp_path / "9000000000").mkdir()  # from a clock that was ahead
    (tmp_path / "9000000000" / "model.json").write_text(
        json.dumps({**models, "version": 9000000000})
    )
    assert _version_of(models, str(tmp_path)) == 9000000000
    for other in (
        {**models, "source_saved_model_sha256": "d"},
        {**models, "variants": variants[:1]},
        {**models, "variants": [variants[0], {"name": "float32", "sha256": "d"}]},
    ):
        assert _version_of(other, str(tmp_path)) == 9000000001
    assert _version_of(models, str(tmp_path / "nowhere")) < 9000000000


@pytest.mark.parametrize("content", ["", "[]", '"text"', "{}", "{", "\0"])
def test_a_damaged_description_is_named(tmp_path, content):
    path = tmp_path / "7" / "model.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=f"^{path}: damaged; remove this version"):
        _version_of({"source_saved_model_sha256": "a"}, str(tmp_path))


def test_versions_from_before_the_variants_are_other_versions(tmp_path):
    (tmp_path / "5").mkdir()
    old = {"source_saved_model_sha256": "b", "sha256": "a", "version": 5}
    (tmp_path / "5" / "model.json").write_text(json.dumps(old))
    models = {"source_saved_model_sha256": "b", "variants": [{"name": "uint8", "sha256": "a"}]}
    assert _version_of(models, str(tmp_path)) > 5
