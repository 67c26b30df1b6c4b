"""The report and the model card: facts, page, command; on made facts and on the session's run."""

import base64
import errno
import html.parser
import io
import json
import re
import shutil
import tempfile
import xml.etree.ElementTree
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from components.sources import locate, open_source
from components.splits import split_batches
from export.facts import Facts, wilson_interval
from export.hashes import sha256_of_directory
from export.model_card import model_card
from pipeline.config import RunRoot
from pipeline.report import charts, drawing
from pipeline.report.latency import with_latency
from pipeline.report.page import render
from pipeline.report.write import read, write_report
from serving.pictures import encode_png

DIGIT = base64.b64encode(encode_png(np.eye(28, dtype=np.uint8) * 255)).decode()
VOID = {"meta", "link", "img", "br", "hr", "input"}
SECTIONS = [
    *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"),
    *("Quantitative analyses", "Ethical considerations", "Caveats and recommendations"),
]


def made() -> dict:
    """The facts of a run with a model that took three 4 for 9 and one 9 for 4, of 100 digits."""
    matrix = [[10 * (row == column) for column in range(10)] for row in range(10)]
    matrix[4][4], matrix[4][9] = 7, 3
    matrix[9][9], matrix[9][4] = 9, 1
    recall = [row[digit] / 10 for digit, row in enumerate(matrix)]
    variant = {
        **{"accuracy": 0.95, "served_accuracy": 0.96, "examples": 100, "lost": 2, "gained": 1},
        **{"disagreements": 4, "recall": recall, "expected_calibration_error": 0.0312},
        **{"bytes": 104_545, "sha256": "c" * 64},
    }
    return {
        "run": {"started": "2026-01-02T03:04:05+00:00", "seconds": 125.25},
        "data": {
            "source": "<script>alert('digits')</script>",
            "splits": {
                "train": {"examples": 1200, "by_label": [120] * 10, "anomalies": []},
                "test": {"examples": 100, "by_label": [10] * 10, "anomalies": ["a < b"]},
            },
        },
        "recipe": {
            **{"name": "seed", "network": "cnn", "optimizer": "adam", "batch_size": 8},
            "augmentation": None,
        },
        "seed": 3,
        "tuning": None,
        "model": {
            "accuracy": 0.96,
            "interval_95": [0.9, 0.98],
            "recall": recall,
            "recall_interval_95": [list(wilson_interval(r[i], 10)) for i, r in enumerate(matrix)],
            "precision": [1.0] * 9 + [None],
            "confusion_matrix": matrix,
            "expected_calibration_error": 0.0123,
            "calibration": [
                {"lower": 0.5, "upper": 0.6, "count": 4, "confidence": 0.55, "accuracy": 0.5},
                {"lower": 0.9, "upper": 1.0, "count": 96, "confidence": 0.97, "accuracy": 0.98},
            ],
            "baseline": {
                **{"accuracy": 0.94, "interval_95": [0.88, 0.97], "version": "17", "same": False}
            },
            **{"parameters": 93_322, "bytes": 935_000, "sha256": "a" * 64, "steps": 1400},
            "training_seconds": 61.5,
            "history": {
                "loss": [1.0, 0.5, 0.4, 0.3],
                "accuracy": [0.5, 0.8, 0.9, 1.0],
                "val_loss": [0.6, 0.35],
                "val_accuracy": [0.8, 0.9],
            },
        },
        "edge": {
            "variants": {
                "uint8": variant,
                "int4": {**variant, "accuracy": 0.2, "refusals": ["accuracy 0.2 is below 0.9"]},
            },
            "stress": {
                "digits": 50,
                "disturbances": {
                    "clean": {"raw_accuracy": 0.96, "preprocessed_accuracy": 0.98},
                    "turned by 1.5 degrees": {"raw_accuracy": 0.1, "preprocessed_accuracy": 0.9},
                },
            },
        },
        "gates": {
            name: {"blessed": True, "reason": f"{name} is fine"}
            for name in ("data", "model", "servability", "edge")
        },
        "pushed": {"version": "18", "serving": "serving/18", "edge": "edge/18"},
        "components": [
            {"name": "Trainer", "state": "ran", "seconds": 70.5, "peak_mib": 900},
            {"name": "Transform", "state": "cached", "seconds": 0.1, "peak_mib": 950},
            {"name": "Pusher", "state": "skipped", "seconds": 0.0, "peak_mib": 0},
        ],
        "lineage": {
            **{"data_sha256": "d" * 64, "commit": "0123456789ab", "versions": {"keras": "3"}},
            "artifacts": [
                {
                    **{"component": "Trainer", "output": "model", "uri": "artifacts/Trainer/1"},
                    "code_sha256": "e" * 64,
                }
            ],
        },
        "pictures": {
            "mean_pngs": [DIGIT] * 9 + [None],
            "ink": {"edges": [0, 0.1, 0.2], "counts": {"train": [600, 600], "test": [100, 0]}},
            "mistakes": [
                {
                    **{"png": DIGIT, "label": 4, "predicted": 9, "confidence": 0.987},
                    "label_probability": 0.01,
                }
            ],
        },
        "drift": {
            **{"checked": "2026-02-03T04:05:06+00:00", "version": 18, "digits": 1234},
            **{"alpha": 0.01, "skipped_records": 5, "drift": True},
            "features": [
                {
                    **{"feature": name, "reference": 0.125, "requests": 0.25, "distance": 0.3},
                    **{"p_value": 0.002 if name == "slant" else 1.0, "is_drift": name == "slant"},
                    "histogram": {
                        **{"edges": [0, 1, 2], "reference": [0.4, 0.6], "requests": [0.5, 0.5]}
                    },
                }
                for name in ("ink mass", "slant", "class mix")
            ],
        },
    }


def refused(gate: str) -> dict:
    """What is left of the facts if a gate refuses."""
    facts = made()
    gates = list(facts["gates"])
    for later in gates[gates.index(gate) + 1 :]:
        if (gate, later) != ("model", "servability"):  # which do not wait for each other
            del facts["gates"][later]
    facts["gates"][gate] = {"blessed": False, "reason": "too <bad>; and slow"}
    facts["pushed"] = facts["drift"] = None
    if gate != "edge":
        facts["edge"] = None
    if gate == "data":
        facts["model"] = None
        facts["pictures"]["mistakes"] = []
    return facts


class Page(html.parser.HTMLParser):
    """A page, checked while it is read: its elements nest."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.numbers: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            values = dict(attributes)
            self.numbers.append((values["data-fact"], values["value"], ""))

    def handle_startendtag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} ends at {self.getpos()}"

    def handle_data(self, text):
        if "style" not in self.open:
            self.text += text
        if self.open[-1:] == ["data"]:
            name, value, shown = self.numbers[-1]
            self.numbers[-1] = (name, value, shown + text)


def page_of(values: dict) -> tuple[str, Page]:
    return _page_of(json.dumps(values))


@cache  # a second a page
def _page_of(values: str) -> tuple[str, Page]:
    facts = Facts.model_validate_json(values)
    text = render(facts, charts.draw(facts))
    return text, Page(text)


def look_up(values: dict, name: str) -> object:
    """Follows a fact's name, which has slashes where a key has dots."""
    found: object = values
    for key in name.split("/") if "/" in name else name.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


def assert_shown(values: dict, numbers: list[tuple[str, str, str]]) -> None:
    """What is shown are the facts, to the decimals that are shown."""
    for name, value, shown in numbers:
        fact = look_up(values, name)
        assert value == str(fact), name
        if isinstance(fact, str):
            assert shown == fact
            continue
        shown = shown.replace("\N{NO-BREAK SPACE}", " ").replace(",", "")
        if minutes := re.fullmatch(r"(\d+) min (\d+) s", shown):
            assert abs(60 * int(minutes[1]) + int(minutes[2]) - fact) <= 0.5
            continue
        number, unit = re.fullmatch(r"(-?[\d.]+) ?(%|kB|µs|s|)", shown).groups()
        scale = {"%": 0.01, "kB": 1000}.get(unit, 1)
        if name.endswith("calibration_error"):
            scale = 0.01  # in percentage points
        decimals = len(number.partition(".")[2])
        assert abs(float(number) * scale - fact) <= 0.501 * scale * 10**-decimals, (name, shown)


class TestFacts:
    @pytest.mark.parametrize(("hits", "total"), [(0, 10), (10, 10), (1, 1), (9964, 10_000)])
    def test_the_interval_is_wilsons(self, hits, total):
        expected = stats.binomtest(hits, total).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson_interval(hits, total), tuple(expected), atol=1e-12)

    def test_what_follows_from_the_confusion_matrix(self):
        model = Facts.model_validate(made()).model
        assert (model.examples, model.errors, model.weakest_digit) == (100, 4, 4)
        found = [(part.actual, part.predicted, part.count) for part in model.confusions]
        assert found == [(4, 9, 3), (9, 4, 1)]

    def test_validation_that_was_not_measured_every_epoch_lies_where_it_was(self):
        model = Facts.model_validate(made()).model
        assert model.epochs == 4
        assert model.curve("loss") == [(1, 1.0), (2, 0.5), (3, 0.4), (4, 0.3)]
        assert model.curve("val_loss") == [(2, 0.6), (4, 0.35)]
        assert model.curve("nothing") == []

    def test_the_share_of_equal_labels(self):
        assert Facts.model_validate(made()).edge.variants["uint8"].agreement == 0.96


def test_a_precision_that_no_digit_gives_is_none():
    from pipeline.summary import finite

    assert [finite(value) for value in (0.5, "NaN", float("nan"), 1)] == [0.5, None, None, 1.0]


class TestPage:
    @pytest.mark.parametrize(
        "values",
        [made(), *(refused(gate) for gate in ("data", "model", "servability", "edge")), {}],
        ids=["pushed", "data", "model", "servability", "edge", "nothing"],
    )
    def test_it_stands_alone_and_shows_the_facts(self, values):
        text, page = page_of(values)
        assert_shown(values, page.numbers)
        ids = Counter(a["id"] for _, a in page.attributes if "id" in a)
        assert max(ids.values()) == 1
        for _, attributes in page.attributes:
            for name in ("src", "href", "xlink:href", "action", "srcset", "poster"):
                reference = attributes.get(name, "#gates")
                assert reference.startswith("data:") or reference.removeprefix("#") in ids
            for reference in re.findall(r"url\((.*?)\)", " ".join(map(str, attributes.values()))):
                assert reference.removeprefix("#") in ids
        assert not {"script", "iframe", "object"} & {tag for tag, _ in page.attributes}
        style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
        assert "url(" not in style
        assert "@import" not in style
        for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
            xml.etree.ElementTree.fromstring(svg)

    def test_a_whole_run_shows_every_panel(self):
        _, page = page_of(made())
        pictures = {a["data-picture"] for _, a in page.attributes if "data-picture" in a}
        assert pictures == {*charts.CHARTS, "mistakes", "means"}
        assert len(page.numbers) > 100
        for words in (
            "Version 18 pushed",
            "+2.00 points against the last blessed model (version 17)",
            "4 taken for 9 (3), 9 taken for 4 (1)",
            "Worst raw: turned by 1.5 degrees (10.0\N{NO-BREAK SPACE}%)",
            "Not pushed: int4",
            "accuracy 0.2 is below 0.9",
            "<script>alert('digits')</script>",
            "a < b",
            "Skipped: Pusher",
            "Latency was not measured",
            "✗ drift of slant",
        ):
            assert words in page.text
        assert "None" not in page.text

    def test_it_says_which_spans_made_the_model(self):
        values = made()
        values["data"] |= {"span": 7, "trained_on_spans": [5, 7]}
        assert "Trained on spans 5, 7." in page_of(values)[1].text
        values["model"]["warm_start"] = True
        _, page = page_of(values)
        assert "span 7" in page.text
        assert "Trained on spans 5, 7, from the last blessed model's weights." in page.text
        assert_shown(values, page.numbers)
        assert "span" not in page_of(made())[1].text.lower()

    @pytest.mark.parametrize("gate", ["data", "model", "servability", "edge"])
    def test_a_refused_run_says_which_gate_and_why(self, gate):
        values = refused(gate)
        _, page = page_of(values)
        assert f"Refused by the {gate} gate" in page.text
        assert "too <bad>" in page.text
        assert page.text.count("not reached") == 4 - len(values["gates"])
        assert ("No model was evaluated" in page.text) == (gate == "data")
        assert ("No edge model was evaluated" in page.text) == (gate != "edge")

    def test_charts_follow_the_look_of_the_page(self):
        drawn = charts.draw(Facts.model_validate(made()))
        assert set(drawn) == set(charts.CHARTS)
        for name, chart in drawn.items():
            assert not re.findall(r"#[0-9a-f]{6}\b", chart.svg)
            assert "var(--muted)" in chart.svg
            assert 'id="figure_1"' not in chart.svg
            picture = Image.open(io.BytesIO(chart.png))
            assert picture.width == round(150 * drawing.WIDTH), name
            assert len(picture.convert("RGB").getcolors(1_000_000)) > 20


class TestModelCard:
    @pytest.mark.parametrize(
        "values", [made(), *(refused(g) for g in ("data", "model", "edge")), {}]
    )
    def test_it_has_all_sections_whatever_is_missing(self, values):
        card = model_card(Facts.model_validate(values))
        assert re.findall(r"^## (.*)$", card, re.MULTILINE) == SECTIONS
        for section in re.split(r"^## ", card, flags=re.MULTILINE)[1:]:
            assert len(section.splitlines()) > 2
        assert "None" not in card.replace("None: no model was evaluated.", "")
        for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
            assert len({line.count("|") for line in table.splitlines()}) == 1

    def test_its_figures_are_the_facts(self):
        card = model_card(Facts.model_validate(made()))
        for words in (
            "# Model card: Digits 18\n",
            "accuracy **96.00 %** (95 %: 90.00 % to 98.00 %), 4 of 100 digits missed",
            "| 4 | 70.00 % |",
            "| uint8 | 104,545 | 95.00 % | 2 / 1 | 0.0312 | yes |",
            "| no: accuracy 0.2 is below 0.9 |",
            "| turned by 1.5 degrees | 10.00 % | 90.00 % |",
            "`" + "a" * 64 + "`",
        ):
            assert words in card

    def test_a_refused_model_is_not_released(self):
        card = model_card(Facts.model_validate(refused("model")))
        assert "**Not released: refused by the model gate.**\n- model: too <bad>; and slow" in card


class TestWriting:
    @pytest.fixture(scope="class")
    def reports(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        root = tmp_path_factory.mktemp("reports")
        write_report(made(), root / "20260102-030405")
        again = {**made(), "run": {"started": "2026-01-03T03:04:05+00:00", "seconds": 1.0}}
        write_report(again, root / "20260103-030405")
        write_report(refused("model"), root / "20260104-030405")
        return root

    @pytest.fixture
    def root(self, reports: Path, tmp_path: Path) -> Path:
        shutil.copytree(reports, tmp_path / "report")
        return tmp_path

    def test_all_is_there_and_nothing_else(self, root):
        (root / "report" / "20260102-030405" / "old").touch()
        write_report(made(), root / "report" / "20260102-030405")
        names = sorted(path.name for path in (root / "report").iterdir())
        assert names == ["20260102-030405", "20260103-030405", "20260104-030405"]
        directory = root / "report" / "20260102-030405"
        files = sorted(path.name for path in directory.iterdir())
        assert files == ["facts.json", "model_card.md", "pictures", "report.html"]
        pictures = {path.stem for path in (directory / "pictures").iterdir()}
        assert pictures == {*charts.CHARTS, "mistakes", "means"}
        for path in (directory / "pictures").iterdir():
            Image.open(path).verify()

    def test_a_report_that_cannot_be_drawn_leaves_the_old_one(self, root, monkeypatch):
        directory = root / "report" / "20260102-030405"
        before = (directory / "report.html").read_bytes()

        def fail(_):
            raise OSError("No space left on device")

        monkeypatch.setattr("pipeline.report.write.model_card", fail)
        with pytest.raises(OSError, match="No space"):
            write_report(made(), directory)
        assert (directory / "report.html").read_bytes() == before
        assert len(list((root / "report").iterdir())) == 3

    @pytest.mark.parametrize(
        ("options", "name"),
        [([], "20260104-030405"), (["--version", "18"], "20260102-030405")],
    )
    def test_report_draws_the_last_run_or_the_one_that_made_a_version(
        self, digits, root, options, name
    ):
        page = root / "report" / name / "report.html"
        page.unlink()
        outcome = digits("report", "--root", root, *options)
        assert outcome.code == 0, outcome.err
        assert outcome.out == f"report: {page}\n"
        assert "</html>" in page.read_text()

    def test_open_shows_it(self, digits, root, monkeypatch):
        shown = []
        monkeypatch.setattr("webbrowser.open", lambda url: bool(shown.append(url)))
        outcome = digits("report", "--root", root, "--open")
        assert shown == [f"file://{root}/report/20260104-030405/report.html"]
        assert outcome.out.endswith("no browser here to open it\n")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"model"', "facts.json: not JSON"),
            ('{"seed": "seven"}', "facts.json: seed: Input should be a valid integer"),
            ("[]", "facts.json: : Input should be"),
        ],
    )
    def test_damaged_facts_are_named(self, digits, root, content, message):
        (root / "report" / "20260104-030405" / "facts.json").write_text(content)
        outcome = digits("report", "--root", root)
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.err.count("\n") == 1

    def test_what_cannot_be_written_is_named(self, digits, root, monkeypatch):
        def refuse(**_: object) -> str:
            raise PermissionError(errno.EACCES, "Permission denied", "somewhere")

        monkeypatch.setattr(tempfile, "mkdtemp", refuse)
        outcome = digits("report", "--root", root)
        assert (outcome.code, outcome.err) == (2, f"digits: --root {root}: Permission denied\n")

    def test_what_is_missing_is_named(self, digits, root, tmp_path):
        outcome = digits("report", "--root", root, "--version", "19")
        assert outcome.code == 2
        assert "--version 19: no report; those of" in outcome.err
        assert outcome.err.endswith("report: 18\n")
        outcome = digits("report", "--root", tmp_path / "nowhere")
        assert outcome.code == 2
        assert "nowhere/report: no report; run `digits run` first" in outcome.err

    def test_the_benchmarks_latency_is_shown_for_its_version_only(self, tmp_path):
        benchmark = {"engines": [{"name": "LiteRT uint8", "p50_microseconds": 15.25}]}
        root = RunRoot(tmp_path)
        root.edge_benchmark.mkdir()
        path = root.edge_benchmark / "bench-edge.json"
        assert with_latency(made(), root) == made()
        for version, latency in ((None, None), (17, None), (18, 15.25)):
            path.write_text(json.dumps({**benchmark, "version": version}))
            values = with_latency(made(), root)
            assert values["edge"]["variants"]["uint8"].get("latency_us") == latency
        _, page = page_of(values)
        assert ("edge.variants.uint8.latency_us", "15.25") in {n[:2] for n in page.numbers}
        assert "Latency was not measured" not in page.text

    def test_the_last_drift_check_is_shown_for_its_version_only(self, digits, root):
        check = made()["drift"]
        (root / "drift").mkdir()
        path = root / "drift" / "drift.json"
        facts = made()
        del facts["drift"]
        page = write_report(facts, root / "report" / "20260105-030405")
        none = "No requests have been compared"
        assert none in page.read_text()
        for version, shown in ((17, False), (18, True)):
            path.write_text(json.dumps({**check, "version": version}))
            assert digits("report", "--root", root).code == 0
            text = page.read_text()
            assert (none in text, "✗ drift of slant" in text) == (not shown, shown)
            assert ('data-picture="drift"' in text) == shown
        path.write_text("{}")
        outcome = digits("report", "--root", root)
        assert outcome.code == 2
        assert f"{path}: damaged; run `digits drift` again" in outcome.err


class TestRun:
    @pytest.fixture(scope="class")
    def report(self, pipeline_run) -> Path:
        """Of the first run: other tests run the pipeline again."""
        return min((pipeline_run.root / "report").iterdir())

    @pytest.fixture(scope="class")
    def facts(self, report) -> dict:
        return read(report)

    def test_the_run_names_its_report(self, pipeline_run, report):
        assert pipeline_run.outcome.out.endswith(f"\nreport: {report / 'report.html'}\n")

    def test_the_page_shows_the_run(self, report, facts):
        page = Page((report / "report.html").read_text())
        assert_shown(facts, page.numbers)
        assert len(page.numbers) > 150
        pictures = {a["data-picture"] for _, a in page.attributes if "data-picture" in a}
        assert pictures == {*charts.CHARTS, "mistakes", "means"} - {"drift"}
        assert f"Version {facts['pushed']['version']} pushed" in page.text

    def test_the_facts_are_those_of_the_artifacts(self, pipeline_run, facts):
        model, edge = facts["model"], facts["edge"]
        history = json.loads(
            (pipeline_run.artifact("Trainer", "model_run") / "history.json").read_text()
        )
        assert model["history"] == history["history"]
        assert model["steps"] == history["steps"]
        metrics = json.loads(
            (pipeline_run.artifact("EdgeEvaluator", "evaluation") / "metrics.json").read_text()
        )
        assert edge["stress"] == metrics["stress"]
        version = facts["pushed"]["version"]
        description = json.loads((pipeline_run.root / "edge" / version / "model.json").read_text())
        for variant in description["variants"]:
            shown = edge["variants"][variant["name"]]
            assert shown["sha256"] == variant["sha256"]
            assert shown["accuracy"] == metrics["variants"][variant["name"]]["accuracy"]
        assert facts["lineage"]["data_sha256"] == description["data_sha256"]
        served = pipeline_run.root / "serving" / "digits" / version
        assert model["sha256"] == sha256_of_directory(str(served))
        assert model["baseline"] is None

    def test_calibration_agrees_with_the_accuracy(self, facts):
        bins = facts["model"]["calibration"]
        assert sum(part["count"] for part in bins) == 500
        right = sum(part["count"] * part["accuracy"] for part in bins)
        assert right / 500 == pytest.approx(facts["model"]["accuracy"])
        assert all(part["lower"] <= part["confidence"] <= part["upper"] for part in bins)

    def test_the_pictures_are_the_digits(self, facts):
        by_split: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for split, batch in split_batches(open_source(locate("sample"))):
            by_split.setdefault(split, []).append(batch)
        splits = {
            split: (
                np.concatenate([images for images, _ in parts]).reshape(-1, 28, 28),
                np.concatenate([labels for _, labels in parts]),
            )
            for split, parts in by_split.items()
        }
        images, labels = splits["train"]
        for digit, png in enumerate(facts["pictures"]["mean_pngs"]):
            expected = images[labels == digit].mean(0)
            np.testing.assert_allclose(decode(png), expected, atol=0.51)
        ink = facts["pictures"]["ink"]
        for split, (images, _) in splits.items():
            expected, _ = np.histogram(images.mean((1, 2)) / 255, ink["edges"])
            assert sum(ink["counts"][split]) == len(images)
            assert np.abs(np.array(ink["counts"][split]) - expected).sum() <= 4  # of rounding

        images, labels = splits["test"]
        tests = {(i.tobytes(), int(label)) for i, label in zip(images, labels, strict=True)}
        matrix = facts["model"]["confusion_matrix"]
        mistakes = facts["pictures"]["mistakes"]
        errors = round(500 * (1 - facts["model"]["accuracy"]))
        assert len(mistakes) == min(24, errors) > 0
        confidences = [mistake["confidence"] for mistake in mistakes]
        assert confidences == sorted(confidences, reverse=True)
        for mistake in mistakes:
            assert (decode(mistake["png"]).tobytes(), mistake["label"]) in tests
            assert matrix[mistake["label"]][mistake["predicted"]] > 0
            assert mistake["label_probability"] < mistake["confidence"]

    def test_the_lineage_leads_to_what_is_there(self, pipeline_run, facts):
        lineage = facts["lineage"]
        artifacts = {(part["component"], part["output"]) for part in lineage["artifacts"]}
        assert {("ExampleGen", "examples"), ("Trainer", "model"), ("Pusher", "pushed_model")} <= (
            artifacts
        )
        for part in lineage["artifacts"]:
            assert (pipeline_run.root / part["uri"]).exists()
            assert re.fullmatch("[0-9a-f]{64}", part["code_sha256"])
        assert lineage["versions"]["tensorflow"].startswith("2.")
        assert "num_files:1" in lineage["data_fingerprint"]

    def test_the_bundle_has_a_card_of_its_own(self, pipeline_run, facts):
        version = facts["pushed"]["version"]
        bundle = pipeline_run.root / "edge" / version
        card = (bundle / "model_card.md").read_text()
        assert card.startswith(f"# Model card: Digits {version}\n")
        assert re.findall(r"^## (.*)$", card, re.MULTILINE) == SECTIONS
        variant = facts["edge"]["variants"]["uint8"]
        assert f"| uint8 | {variant['bytes']:,} | {100 * variant['accuracy']:.2f} % |" in card
        assert facts["model"]["sha256"] in card
        assert "  model_card.md\n" in (bundle / "SHA256SUMS").read_text()


def decode(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
