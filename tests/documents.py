"""The commands of the documents: finds them, and looks up what they name without running them.

`python -m tests.documents` counts them.
"""

import argparse
import ast
import contextlib
import io
import itertools
import re
import shlex
import subprocess
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.cli import _parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "export" / "templates" / "README.md.template",
)
#: What stands for a number.
VERSIONS = ("VERSION", "OLD", "NEW")
#: Programs whose arguments are not looked up, but for files and directories.
OTHERS = {"curl", "docker", "jupyter", "kubectl", "sha256sum"}

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>not run|run by|in the background):? ?(?P<note>[^\n]*?) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Fence:
    """A block of code.

    Attributes:
        document: that has it.
        line: of its first line.
        language: that its head names; empty for none.
        text: between its head and its end.
        mark: `not run`, `run by`, `in the background`, or empty.
        note: the rest of the mark: why, or by which file.
    """

    document: Path
    line: int
    language: str
    text: str
    mark: str
    note: str

    @property
    def commands(self) -> list[str]:
        """One a line; a backslash joins lines."""
        if self.language != "sh":
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def fences(document: Path) -> list[Fence]:
    """All code blocks of a document."""
    text = document.read_text()
    return [
        Fence(
            document,
            text.count("\n", 0, found.start("text")) + 1,
            found["language"],
            found["text"],
            found["mark"] or "",
            found["note"] or "",
        )
        for found in _FENCE.finditer(text)
    ]


def problems(command: str) -> list[str]:
    """What a command names that does not exist: flags, targets, modules, files, tests."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    simple: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            simple.append([])
        else:
            simple[-1].append(word)
    return [problem for words in simple if words for problem in _problems(words)]


def _problems(words: list[str]) -> list[str]:
    program, arguments = words[0], words[1:]
    program = program.removeprefix(".venv/bin/")
    match program:
        case "digits":
            return _problems_of_digits(arguments)
        case "make":
            return _problems_of_make(arguments)
        case "pytest":
            return _problems_of_pytest(arguments)
        case "python":
            return _problems_of_python(arguments)
        case "pip":
            return _problems_of_pip(arguments)
        case ".ci/run":
            return _missing(program)
        case _ if program in OTHERS:
            given = itertools.pairwise(arguments)
            return _missing(*(path for flag, path in given if flag in ("-f", "-k")))
    return [f"{program}: a program that tests/documents.py does not know"]


def _missing(*paths: str) -> list[str]:
    return [f"{path}: no such file" for path in paths if not (ROOT / path).exists()]


def _problems_of_digits(arguments: list[str]) -> list[str]:
    numbered = ["1" if argument in VERSIONS else argument for argument in arguments]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
            options = _parser().parse_args(numbered)
            if "run_options" in options:  # of `digits watch`
                _parser().parse_args(["run", *options.run_options])
    except SystemExit as usage:
        return [errors.getvalue().splitlines()[-1]] if usage.code else []
    return []


def _problems_of_make(arguments: list[str]) -> list[str]:
    found = _dry_run(tuple(arguments))
    target = next((word for word in arguments if "=" not in word), "")
    values = dict(word.split("=", 1) for word in arguments if "=" in word)
    given = shlex.split(values.get("ARGS", ""))
    if target == "test":
        return found + _problems_of_pytest(given)
    if target.startswith("bench-"):
        sources = [ROOT / "tests" / "benchmarks" / f"{name}.py" for name in (target[6:], "runs")]
        texts = [path.read_text() for path in sources if path.exists()]
        for flag in (word for word in given if word.startswith("--")):
            if not any(f'"{flag}"' in text for text in texts):
                found.append(f"make {target}: no flag {flag}")
    return found


@cache
def _dry_run(arguments: tuple[str, ...]) -> list[str]:
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
    return [done.stderr.strip()] if done.returncode else []


def _problems_of_pytest(arguments: list[str]) -> list[str]:
    paths = [word for word in arguments if word.startswith("tests")]
    found = _missing(*paths)
    if found:
        return found
    files = [f for p in paths for f in ([ROOT / p] if (ROOT / p).is_file() else _tests(ROOT / p))]
    known = "".join(path.read_text() for path in ROOT.glob("tests/**/conftest.py"))
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == "-k" and not any(value in name for path in files for name in _names(path)):
            found.append(f"-k {value}: no such test in {' '.join(paths)}")
        elif flag.startswith("--") and f'addoption("{flag}"' not in known:
            found.append(f"pytest: no flag {flag}")
    return found


def _tests(directory: Path) -> list[Path]:
    return sorted(directory.rglob("test_*.py"))


def _names(path: Path) -> list[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    return [node.name for node in tree if isinstance(node, ast.FunctionDef)]


def _problems_of_python(arguments: list[str]) -> list[str]:
    if arguments[0] == "-m":
        path = arguments[1].replace(".", "/")
        return [] if (ROOT / f"{path}.py").exists() else _missing(path)
    if arguments[0] == "-c":
        compile(arguments[1], "-c", "exec")
        return []
    # In a bundle, or beside one.
    name = Path(arguments[0]).name
    made = [*(ROOT / "export").rglob(f"{name}.template"), *(ROOT / "export").glob(name)]
    return [] if made else _missing(arguments[0])


def _problems_of_pip(arguments: list[str]) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"^\.\[(.*)\]$", "\n".join(arguments), re.MULTILINE)
    return [
        f"pip: no extra {extra}"
        for extra in extras
        if extra not in project["optional-dependencies"]
    ]


def inline_commands(document: Path) -> list[str]:
    """`digits ...` and `make ...` between backticks, in a line of text."""
    prose = _FENCE.sub("", document.read_text())
    return re.findall(r"`((?:digits|make) [^`\n]+)`", prose)


def inline_problems(command: str) -> list[str]:
    """What a command in running text names that does not exist; it may leave arguments out."""
    words = re.sub(r"\$\(.*?\)", "x", command).replace("...", " ").split()
    if words[0] == "make":
        target = next((word for word in words[1:] if re.fullmatch(r"[a-z-]+[a-z]", word)), None)
        return _dry_run((target, "DATA=x")) if target else []
    parser, names = _parser(), []
    for word in words[1:]:
        actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if not actions or word not in actions[0].choices:
            break
        parser = actions[0].choices[word]
        names.append(word)
    if not names and not words[1].startswith("-"):
        return [f"digits: no command {words[1]}"]
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    return [
        f"digits {' '.join(names)}: no flag {flag}"
        for flag in flags
        if flag not in parser._option_string_actions
    ]


def count() -> Counter[str]:
    """Commands in fences by what is done with them; other languages' blocks; commands in text."""
    counts: Counter[str] = Counter()
    for document in DOCUMENTS:
        for fence in fences(document):
            counts[fence.mark or "run"] += len(fence.commands)
            if fence.language in ("python", "html", "kotlin", "swift", "c"):
                counts[f"blocks of {fence.language}"] += 1
        counts["looked up in text"] += len(inline_commands(document))
    return counts


if __name__ == "__main__":
    for kind, number in count().items():
        print(f"{number:4} {kind}")
