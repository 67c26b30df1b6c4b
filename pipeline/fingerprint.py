"""Which of our source files shape a component's output, as one hash.

TFX's cache compares inputs and parameters, not code: after an edit it would go on serving what
the old code made.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
from functools import cache
from pathlib import Path

PACKAGES = ("pipeline", "components", "serving", "export")
#: Their releases change what a component computes.
LIBRARIES = ("tfx", "tensorflow", "tensorflow-transform", "tensorflow-model-analysis", "keras")

_MODULE = re.compile(rf"\b(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


def fingerprint(text: str) -> str:
    """Hashes the sources of all modules named in a text, and of all that they import of ours.

    Of a package, its data files too.

    Args:
        text: for example a component's executor and parameters, as text proto.

    Returns:
        A SHA-256, in hexadecimal, that covers the versions of the main libraries too.
    """
    total = hashlib.sha256()
    for library in LIBRARIES:
        total.update(f"{library}=={importlib.metadata.version(library)}\n".encode())
    for path in sorted(_closure(set(_MODULE.findall(text)))):
        total.update(path.read_bytes())
        for data in _data_files(path):
            total.update(data.read_bytes())
    return total.hexdigest()


def _data_files(path: Path) -> list[Path]:
    """What a package has besides code, if the path is that of a package."""
    if path.name != "__init__.py":
        return []
    files = (file for file in path.parent.rglob("*") if file.is_file())
    return sorted(file for file in files if file.suffix not in {".py", ".pyc"})


def _closure(names: set[str]) -> set[Path]:
    found: set[Path] = set()
    while names:
        path = _source(names.pop())
        if path and path not in found:
            found.add(path)
            names |= _imports(path)
    return found


@cache
def _source(name: str) -> Path | None:
    """The file of a module, or of the module that holds the named object."""
    while "." in name:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # the parent is a module, not a package
            spec = None
        if spec and spec.origin:
            return Path(spec.origin)
        name = name.rpartition(".")[0]
    return None


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] in PACKAGES}
