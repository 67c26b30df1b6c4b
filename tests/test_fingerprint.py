import importlib.metadata

import pytest

from pipeline import fingerprint as module
from pipeline.fingerprint import fingerprint


@pytest.fixture
def edit(monkeypatch):
    """Makes one source file read as if it had been edited."""

    def _edit(name: str) -> None:
        read = module.Path.read_bytes
        suffix = name.replace(".", "/") + ".py"
        monkeypatch.setattr(
            module.Path,
            "read_bytes",
            lambda path: read(path) + (b"\n" if str(path).endswith(suffix) else b""),
        )

    return _edit


@pytest.mark.parametrize(
    ("named", "edited", "changes"),
    [
        ("components.trainer.run_fn", "components.trainer", True),
        ("components.trainer.run_fn", "components.model", True),
        ("components.trainer.run_fn", "components.recipes", True),
        ("components.trainer.run_fn", "components.picture_graph", True),
        ("components.trainer.run_fn", "serving.pictures", True),
        ("components.trainer.run_fn", "export.tflite", False),
        ("components.preprocessing.preprocessing_fn", "components.preprocessing", True),
        ("components.preprocessing.preprocessing_fn", "components.model", False),
        ("components.edge_exporter.TFLiteExporter_Executor", "export.tflite", True),
        ("components.pushers.EdgePusher_Executor", "export.bundle", True),
        ("components.pushers.EdgePusher_Executor", "export.templates.__init__", True),
        ("components.evaluation.Executor", "components.metrics", True),
        ("tfx.components.statistics_gen.executor.Executor", "components.trainer", False),
    ],
)
def test_an_edit_changes_what_depends_on_it_and_nothing_else(edit, named, edited, changes):
    text = f'class_path: "{named}"'
    before = fingerprint(text)
    edit(edited)
    assert (fingerprint(text) != before) == changes


def test_an_edited_template_changes_what_renders_it(monkeypatch):
    read = module.Path.read_bytes

    def edited(path):
        return read(path) + (b"\n" if path.name == "centre_digit.c.template" else b"")

    pusher, exporter = "components.pushers.EdgePusher", "components.edge_exporter.TFLiteExporter"
    before = fingerprint(pusher), fingerprint(exporter)
    monkeypatch.setattr(module.Path, "read_bytes", edited)
    assert fingerprint(pusher) != before[0]
    assert fingerprint(exporter) == before[1]


def test_a_library_release_changes_everything(monkeypatch):
    before = fingerprint("")
    monkeypatch.setattr(importlib.metadata, "version", lambda library: "99")
    assert fingerprint("") != before
