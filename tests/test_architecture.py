"""docs/architecture.md says what is so."""

import ast
import re
from pathlib import Path

from pipeline.diagram import drawn

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
FOLDERS = ("pipeline", "components", "serving", "export")


def test_the_page_draws_the_graph_that_runs():
    page = PAGE.read_text()
    assert "Pusher" in re.sub(r".*<!-- drawn: graph -->", "", page, flags=re.DOTALL)
    assert drawn(page) == page, "run: python -m pipeline.diagram docs/architecture.md"


def test_a_page_that_lacks_a_component_is_redrawn():
    page = PAGE.read_text()
    for stale in ("  DataGate{{", "| `Trainer` |", "Tuner → Trainer: best_hyperparameters"):
        assert stale in page
        assert drawn(page.replace(stale, "")) == page


def imports_of(folder: str) -> set[str]:
    """The modules of the other folders that one imports, also inside functions."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        if "node_modules" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module, f"{path}: a relative import"
                # `from serving import predict` imports serving.predict.
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    others = set(FOLDERS) - {folder}
    return {name for name in found if name.split(".")[0] in others}


def test_folders_import_what_the_page_says():
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*) \|$", PAGE.read_text(), re.MULTILINE))
    assert set(rows) == set(FOLDERS)
    for folder, cell in rows.items():
        allowed = re.findall(r"`([\w.]+)`", cell)
        imports = imports_of(folder)
        used = {rule for rule in allowed for name in imports if f"{name}.".startswith(f"{rule}.")}
        assert used == set(allowed), f"{folder} does not import all that the page says"
        for name in imports:
            assert any(f"{name}.".startswith(f"{rule}.") for rule in allowed), f"{folder}: {name}"
