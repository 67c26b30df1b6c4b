"""Every command of the documents runs, or says why it cannot and names only what exists."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.documents import (
    DOCUMENTS,
    ROOT,
    Fence,
    count,
    fences,
    inline_commands,
    inline_problems,
    problems,
)
from tests.serving.servers import running

LANGUAGES = {"sh", "python", "html", "kotlin", "swift", "c", "mermaid", "text"}
PAGES = [path for path in DOCUMENTS if path.suffix == ".md"]
FENCES = [fence for document in DOCUMENTS for fence in fences(document)]


def ids(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)


class Workspace:
    """A copy of the repository with a finished run, as a reader of the documents has it."""

    def __init__(self, directory: Path, run: Path, sample: tuple[np.ndarray, np.ndarray]):
        self.directory = directory
        for path in ROOT.iterdir():
            if path.name not in ("run", "build", ".git"):
                (directory / path.name).symlink_to(path)
        shutil.copytree(run, directory / "run")
        versions = sorted(path.name for path in (directory / "run/serving/digits").iterdir())
        old, new = versions[0], str(int(versions[-1]) + 1)
        for kind in ("serving/digits", "edge"):
            shutil.copytree(directory / "run" / kind / old, directory / "run" / kind / new)
        self.numbers = {"VERSION": old, "OLD": old, "NEW": new}
        self.ports: dict[str, int] = {}
        images, labels = sample
        self.digits = images[labels == 7][:3]
        Image.fromarray(self.digits[0]).save(directory / "seven.png")
        rows = np.column_stack([labels, images.reshape(-1, 784)])[::16]
        np.savetxt(directory / "digits.csv", rows, fmt="%d", delimiter=",")

    def filled_in(self, text: str) -> str:
        """Versions and ports put in, where the text has a reader's."""
        for name, number in self.numbers.items():
            text = re.sub(rf"\b{name}\b", number, text)
        for port, ours in self.ports.items():
            text = text.replace(f"localhost:{port}", f"localhost:{ours}")
        return text


@pytest.fixture
def workspace(tmp_path, pipeline_run, sample, monkeypatch) -> Workspace:
    workspace = Workspace(tmp_path, pipeline_run.root, sample)
    monkeypatch.chdir(tmp_path)
    return workspace


def run_command(command: str, workspace: Workspace, digits: Callable) -> str | None:
    """Runs a command as a shell does; returns what went wrong."""
    text = workspace.filled_in(command)
    if text.startswith("digits ") and not re.search(r"[|&;<>*$]", text):
        # In this process, which has imported TensorFlow and TFX already.
        outcome = digits(*text.partition(" #")[0].split()[1:])
        code, said = outcome.code, outcome.out + outcome.err
    else:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        )
        code, said = done.returncode, done.stdout + done.stderr
    return f"`{command}` ended with {code}: {said[-1000:]}" if code else None


@contextlib.contextmanager
def in_background(command: str, workspace: Workspace) -> Iterator[None]:
    """A command that serves, which has to answer, and to end in peace."""
    words = command.partition(" #")[0].split()
    if words[:2] == ["digits", "serve"]:
        program = [sys.executable, "-m", "pipeline.cli", *words[1:]]
        root = f"--root={workspace.directory / 'run'}"
        with running(workspace.directory, root, command=program) as server:
            for port, address in (("8500", server.address.grpc), ("8501", server.address.rest)):
                workspace.ports[port] = int(address.rpartition(":")[2])
            yield
            assert server.stop() == 0
        return
    assert words == ["digits", "demo"], f"{command}: the test does not know how to ask it"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *words[1:], "--no-open"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        with urllib.request.urlopen(process.stdout.readline().split()[0], timeout=30) as page:
            assert b"<title>Digits</title>" in page.read()
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()


def failures(document: list[Fence], workspace: Workspace, digits: Callable) -> list[str]:
    """Runs what has no mark, in order; returns what went wrong."""
    found = []
    with contextlib.ExitStack() as stack:
        for fence in document:
            if fence.mark == "in the background":
                for command in fence.commands:
                    stack.enter_context(in_background(command, workspace))
            elif not fence.mark:
                done = [run_command(command, workspace, digits) for command in fence.commands]
                found += [f"{fence}: {problem}" for problem in done if problem]
                if fence.language == "python":
                    names = {
                        "image": Image.open("seven.png"),
                        "digits": workspace.digits,
                    }
                    exec(workspace.filled_in(fence.text), names)
    return found


def needs(document: Path) -> None:
    web = ROOT / "export" / "web" / "node_modules"
    if document.name == "devices.md" and not web.exists():
        pytest.skip("the page's packages are not installed: make web")


@pytest.mark.parametrize("document", PAGES, ids=ids)
def test_commands_run(document, workspace, digits):
    needs(document)
    assert failures(fences(document), workspace, digits) == []


def test_the_commands_of_a_bundles_readme_run(workspace, digits, monkeypatch):
    bundle = workspace.directory / "run" / "edge" / workspace.numbers["OLD"]
    shutil.rmtree(bundle / "__pycache__", ignore_errors=True)
    monkeypatch.chdir(bundle)
    readme = [replace(f, document=ROOT / f.document.name) for f in fences(bundle / "README.md")]
    assert sum(len(fence.commands) for fence in readme if not fence.mark) == 2
    assert failures(readme, workspace, digits) == []


def test_a_command_that_fails_is_found(workspace, digits):
    fence = Fence(ROOT / "README.md", 1, "sh", "digits data --data nowhere\nfalse\ntrue\n", "", "")
    found = failures([fence], workspace, digits)
    assert len(found) == 2
    assert "`digits data --data nowhere` ended with 2" in found[0]
    assert "`false` ended with 1" in found[1]


@pytest.mark.parametrize("fence", [f for f in FENCES if f.commands], ids=ids)
def test_what_commands_name_exists(fence):
    assert [problem for command in fence.commands for problem in problems(command)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_what_commands_in_text_name_exists(document):
    commands = inline_commands(document)
    assert [problem for command in commands for problem in inline_problems(command)] == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("digits run --epoch-count 3", "unrecognized arguments: --epoch-count"),
        ("digits watch DIR --windows 3", "unrecognized arguments: --windows"),
        ("digits release promote", "required: VERSION"),
        ("digits release promote NEW && digits serves", "invalid choice: 'serves'"),
        ("make runs", "No rule to make target"),
        ('make bench-accuracy DATA=mnist ARGS="--recipes seed"', "no flag --recipes"),
        ('make test ARGS="tests/test_model.py -k no_such"', "no such test"),
        ("pytest tests/test_models.py", "no such file"),
        ("pytest tests/serving --servers HOST:1", "no flag --servers"),
        ("python -m pipeline.diagrams", "no such file"),
        ("python examine.py", "no such file"),
        ("pip install -e '.[edges]'", "no extra edges"),
        ("kubectl apply -k serving/deploy/kubernetes/bases", "no such file"),
        ("wget localhost", "does not know"),
    ],
)
def test_what_does_not_exist_is_found(command, problem):
    (found,) = problems(command)
    assert problem in found


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("digits drift --logs", "no flag --logs"),
        ("digits forget", "no command forget"),
        ("make runs", "No rule to make target"),
    ],
)
def test_what_does_not_exist_is_found_in_text(command, problem):
    (found,) = inline_problems(command)
    assert problem in found


def test_fences_have_a_language_and_marks_a_reason():
    for fence in FENCES:
        assert fence.language in LANGUAGES, f"{fence}: {fence.language!r}"
        if fence.mark:
            assert fence.commands, f"{fence}: a mark, and no command"
        if fence.mark == "not run":
            assert fence.note, f"{fence}: not run, and no reason"
        if fence.mark == "run by":
            assert (ROOT / fence.note).is_file(), f"{fence}: {fence.note}: no such file"
        if fence.mark == "not run":
            for path in re.findall(r"[\w/]+\.(?:py|md)\b", fence.note):
                assert (ROOT / path).is_file(), f"{fence}: {path}: no such file"
    for document in DOCUMENTS:
        marks = re.findall(r"<!-- (?:not run|run by|in the background)", document.read_text())
        marked = [fence for fence in fences(document) if fence.mark]
        shown = 3 if document.name == "CONTRIBUTING.md" else 0  # the table that explains them
        assert len(marks) == len(marked) + shown, f"{document}: a mark without a fence"


def test_most_commands_are_not_marked_away():
    counts = count()
    assert counts["run"] + counts["run by"] + counts["in the background"] > counts["not run"]


def heading(line: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower())
    return text.strip().replace(" ", "-")


@pytest.mark.parametrize("document", PAGES, ids=ids)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), f"{document}: {target}"
        if anchor:
            lines = file.read_text().splitlines()
            assert anchor in map(heading, filter(lambda line: line.startswith("#"), lines)), target


def test_every_page_is_reached_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").iterdir():
        if page.suffix in (".md", ".ipynb"):
            assert f"](docs/{page.name}" in readme, page


def fence_of(language: str) -> str:
    (fence,) = (fence for fence in FENCES if fence.language == language)
    return fence.text


def test_the_snippet_in_c_compiles(workspace):
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler")
    sources = workspace.directory / "run/edge" / workspace.numbers["OLD"] / "sources"
    Path("snippet.c").write_text(fence_of("c"))
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{sources}"]
    subprocess.run([compiler, *flags, "snippet.c"], check=True)


@pytest.mark.parametrize("language", ["kotlin", "swift"])
def test_snippets_call_what_the_sources_have(language):
    """There is no Android and no iOS where the tests run: names only."""
    directory = ROOT / "export" / "templates" / "sources" / language
    sources = "".join(path.read_text() for path in directory.iterdir())
    snippet = fence_of(language)
    for call in ("DigitClassifier(", "classifier.classify(", "answer.label", "answer.probability"):
        assert call in snippet
        name = re.split(r"[.(]", call.rstrip("("))[-1]
        assert re.search(rf"\b(?:class|fun|func|val|let) {name}\b", sources), call


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_snippet_for_the_web_names_a_seven(browser, workspace, digits):
    needs(ROOT / "docs" / "devices.md")
    assert digits("demo", "--export", "site").code == 0
    page = f"<!doctype html><meta charset=utf-8><body>{fence_of('html')}</body>"
    Path("site", "own.html").write_text(page)
    shutil.copy("seven.png", "site")
    expected = json.loads(digits("predict", "--edge", "--json", "seven.png").out)
    handler = partial(QuietHandler, directory="site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        tab = browser.new_page()
        try:
            tab.goto(f"http://127.0.0.1:{host.server_port}/own.html")
            tab.wait_for_function("/^[0-9]$/.test(document.body.textContent)")
            assert tab.text_content("body") == str(expected[0]["label"])
        finally:
            tab.close()
            host.shutdown()
            thread.join()
