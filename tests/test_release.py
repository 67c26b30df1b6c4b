"""Versions, their history and the files of a release, without a server."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

from export.hashes import sha256_of_directory
from pipeline.config import RunRoot
from pipeline.release.current import current_version
from pipeline.release.history import History, Release
from serving.errors import InputError
from serving.server.model_config import ModelServerConfig

PICTURE = "seven.png"


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    """Versions 1, 2 and 3, whose gates blessed what lies there."""
    root = RunRoot(tmp_path / "run")
    for number in (1, 2, 3):
        served, edge = root.serving / str(number), root.edge / str(number)
        served.mkdir(parents=True)
        (served / "saved_model.pb").write_text(f"model {number}")
        edge.mkdir(parents=True)
        description = {
            "source_saved_model_sha256": sha256_of_directory(str(served)),
            "data_sha256": "ab" * 32,
            "metrics": {"accuracy": 0.75, "served_accuracy": 0.5},
        }
        (edge / "model.json").write_text(json.dumps(description))
    return root


@pytest.fixture
def release(digits, root: RunRoot):
    return lambda action, *arguments: digits("release", action, "--root", root.path, *arguments)


def listed(release) -> dict[int, dict]:
    outcome = release("list", "--json")
    assert outcome.code == 0, outcome.err
    return {facts["version"]: facts for facts in json.loads(outcome.out)}


def served(release) -> list[int]:
    return [number for number, facts in listed(release).items() if facts["served"]]


def test_list_before_the_first_release_has_the_latest_served(release):
    facts = listed(release)[3]
    assert facts.pop("pushed").endswith("+00:00")
    assert facts == {
        "version": 3,
        "data_sha256": "ab" * 32,
        "accuracy": 0.5,
        "int8_accuracy": 0.75,
        "blessed": True,
        "served": True,
        "labels": [],
    }
    assert served(release) == [3]
    table = release("list").out
    assert "50.00%" in table
    assert "abababab" in table


def test_show_says_when_a_version_was_released(release):
    release("promote", 2)
    shown = json.loads(release("show", 2, "--json").out)
    assert shown["edge_model"]["metrics"]["accuracy"] == 0.75
    assert [line.split()[1] for line in shown["releases"]] == ["promote"]
    assert "accuracy: 0.75" in release("show", 2).out


def test_changed_files_are_not_blessed_and_not_released(release, root: RunRoot):
    (root.serving / "2" / "saved_model.pb").write_text("another")
    shutil.rmtree(root.edge / "1")
    assert [facts["blessed"] for facts in listed(release).values()] == [False, False, True]
    for number in (1, 2):
        refused = release("promote", number)
        assert refused.code == 1
        assert "not those that the gates blessed" in refused.err
    assert not root.releases.exists()
    assert not root.server_config.exists()


def test_rollbacks_lead_back_step_by_step_and_leave_other_labels(release):
    for number in (1, 2):
        assert release("promote", number).code == 0
    assert release("canary", 3, "--label", "trial").code == 0
    assert served(release) == [2, 3]
    assert release("rollback").code == 0
    assert served(release) == [1, 3]
    assert release("rollback").code == 0  # what was served before the first release
    assert listed(release)[3]["labels"] == ["stable", "trial"]
    assert release("rollback").code == 2
    assert release("canary", "--end", "--label", "trial").code == 0
    assert listed(release)[3]["labels"] == ["stable"]


def test_a_rollback_gives_up_an_unfinished_promotion(release, root: RunRoot):
    release("promote", 1)
    history = History.read(root.releases)
    history.with_pending(Release.of("promote", {"stable": 2})).write(root.releases)
    assert "unfinished: promote" in release("list").out
    assert release("rollback").code == 0
    assert History.read(root.releases) == history


def test_the_configuration_keeps_what_others_wrote(release, root: RunRoot):
    text = """
    model_config_list {
      config { name: "other" base_path: "/models/other" model_platform: "tensorflow" }
      config {
        name: "digits" base_path: "/models/digits" model_platform: "tensorflow"
        model_version_policy { latest { num_versions: 2 } }
        logging_config { sampling_config { sampling_rate: 0.5 } }
      }
    }
    """
    root.server_config.write_text(text)
    assert release("promote", 2).code == 0
    config = text_format.Parse(root.server_config.read_text(), ModelServerConfig())
    expected = text_format.Parse(text, ModelServerConfig())
    entry = expected.model_config_list.config[1]
    entry.model_version_policy.specific.versions[:] = [2]
    entry.version_labels["stable"] = 2
    assert config == expected


def test_serve_starts_from_the_release_or_says_why_not(release, digits, root: RunRoot, monkeypatch):
    from pipeline.commands import serve

    seen = []
    monkeypatch.setattr(
        serve,
        "serve",
        lambda options, litert, config, verbose: seen.append((options, litert, config)),
    )
    release("promote", 1)
    assert digits("serve", "--root", root.path).code == 0
    options, litert, config = seen.pop()
    assert options.model_config_file == str(root.server_config)
    assert options.allow_version_labels_for_unavailable_models
    assert (litert, config) == (False, None)
    assert digits("serve", "--root", root.path, "--backend", "litert").code == 0
    options, litert, config = seen.pop()
    (entry,) = config.model_config_list.config
    assert options.allow_version_labels_for_unavailable_models
    assert litert
    assert entry.base_path == str(root.edge.absolute())
    assert list(entry.model_version_policy.specific.versions) == [1]
    assert dict(entry.version_labels) == {"stable": 1}
    (root.edge / "1").rename(root.edge / "moved")
    refused = digits("serve", "--root", root.path, "--backend", "litert")
    assert refused.code == 2
    assert "edge/1: no edge model" in refused.err
    (root.edge / "moved").rename(root.edge / "1")
    release("promote", 1, "--base-path", "/models/digits")
    refused = digits("serve", "--root", root.path)
    assert refused.code == 2
    assert "in /models/digits; name what to serve" in refused.err


def test_what_was_promoted_is_used_not_the_newest(release, root: RunRoot):
    def used() -> list[str]:
        return [current_version(root, models).name for models in (root.serving, root.edge)]

    assert used() == ["3", "3"]
    release("promote", 1)
    assert used() == ["1", "1"]
    release("canary", 2)
    history = History.read(root.releases)
    history.with_pending(Release.of("promote", {"stable": 2})).write(root.releases)
    assert used() == ["1", "1"]  # not until the servers have confirmed it
    shutil.rmtree(root.edge / "1")
    with pytest.raises(InputError, match=r"edge/1: the version that was promoted is not there"):
        current_version(root, root.edge)


@pytest.mark.parametrize(
    "command",
    [
        ["predict", PICTURE],
        ["predict", "--edge", PICTURE],
        ["demo", "--export", "page"],
        ["parity"],
        ["bench-edge"],
    ],
    ids=" ".join,
)
def test_each_command_takes_what_was_promoted(release, digits, root: RunRoot, command):
    """None of these versions can be run: the message says which one was tried."""
    release("promote", 1)
    for models in (root.serving, root.edge):
        (models / "1").rename(models / "moved")
    outcome = digits(*command, "--root", root.path)
    assert outcome.code == 2
    assert "/1: the version that was promoted is not there" in outcome.err


def test_prune_spares_what_is_served_labelled_or_gone_back_to(release, root: RunRoot):
    for number in (4, 5, 6):
        for kind in (root.serving, root.edge):
            shutil.copytree(kind / "3", kind / str(number))
    for number in (1, 2):
        release("promote", number)
    release("canary", 4)
    outcome = release("prune", "--keep", 1)
    assert outcome.code == 0, outcome.err
    for kind in (root.serving, root.edge):
        assert sorted(path.name for path in kind.iterdir()) == ["1", "2", "4", "6"]
    gone = release("promote", 5)
    assert gone.code == 2
    assert "not pushed, or pruned; there are 1, 2, 4, 6" in gone.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", 9], "version 9: not pushed, or pruned; there are 1, 2, 3"),
        (["canary", 2], "a canary needs a stable version beside it"),
        (["canary", 2, "--label", "stable"], "is for digits release promote"),
        (["canary"], "required"),
        (["rollback"], "no earlier release to go back to"),
        (["prune", "--keep", 0], "--keep 0; expected 1 or more"),
        (["promote", 1, "--wait", 0], "--wait 0.0; expected seconds"),
        (["promote", 1, "--server", "localhost"], "localhost: expected grpc://HOST:PORT"),
        (["diff", 1, 2], "does not say the data; name it: --data"),
    ],
)
def test_bad_releases_exit_with_2_and_say_why(release, root: RunRoot, arguments, message):
    outcome = release(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not root.releases.exists()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"releases": [{}]}', '{"releases": [{"action": "promote"}]}', "\x00"]
)
def test_a_damaged_history_is_named(release, root: RunRoot, content):
    root.releases.write_text(content)
    outcome = release("list")
    assert outcome.code == 2
    assert "not a history of releases" in outcome.err


def test_one_release_at_a_time(release, root: RunRoot):
    from pipeline.release.change import locked

    with locked(root):
        outcome = release("promote", 1)
    assert outcome.code == 2
    assert "another release is under way" in outcome.err


def test_diff_shows_where_two_versions_disagree(pipeline_run, digits, tmp_path: Path):
    import tensorflow as tf

    root = RunRoot(tmp_path / "run")
    good = pipeline_run.summary["pushed"]["version"]  # other tests push more
    for directory in (f"serving/digits/{good}", f"edge/{good}"):
        shutil.copytree(pipeline_run.root / directory, root.path / directory)
    shutil.copy(pipeline_run.root / "summary.json", root.summary)

    class AlwaysOne(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 28, 28], tf.uint8)])
        def __call__(self, images):
            return {"probabilities": tf.one_hot(tf.ones_like(images[:, 0, 0], tf.int32), 10)}

    module = AlwaysOne()
    tf.saved_model.save(module, str(root.serving / "1"), {"serving_default": module.__call__})
    outcome = digits("release", "diff", 1, good, "--root", root.path, "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    figures = json.loads((tmp_path / "diff.json").read_text())
    test = pipeline_run.summary["data"]["splits"]["test"]
    accuracy = pipeline_run.summary["model"]["accuracy"]
    assert figures["accuracy"] == pytest.approx([test["by_label"][1] / test["examples"], accuracy])
    assert [old for old, _ in figures["recall"]] == [float(digit == 1) for digit in range(10)]
    assert [new for _, new in figures["recall"]] == pytest.approx(
        pipeline_run.summary["model"]["recall"]
    )
    assert figures["gained"] - figures["lost"] == round(
        (accuracy - figures["accuracy"][0]) * test["examples"]
    )
    assert not figures["same_data"]
    assert "made from other data" in outcome.out
    sheet = np.asarray(Image.open(tmp_path / "disagreements.png"))
    assert (sheet[3:87, 3:87] > 0).any()  # a digit
    same = digits("release", "diff", good, good, "--root", root.path, "--out", tmp_path)
    assert "0 labels differ" in same.out
    assert not (tmp_path / "disagreements.png").exists()
