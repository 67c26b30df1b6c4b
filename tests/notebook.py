"""Runs a notebook's cells as Jupyter does, without Jupyter: `python -m tests.notebook FILE`.

Ends with the JSON of the figures that the notebook has found, by name.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from IPython.core.interactiveshell import InteractiveShell


def cells(path: Path, kind: str) -> list[str]:
    """The sources of the cells of a kind, `code` or `markdown`."""
    notebook = json.loads(path.read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def run(path: Path) -> dict[str, Any]:
    """Runs the code; returns the variables that hold numbers, texts, or mappings and lists of such.

    Raises:
        Exception: what a cell raised.
    """
    shell = InteractiveShell.instance(colors="NoColor")
    for source in cells(path, "code"):
        shell.run_cell(source, store_history=True).raise_error()
    found = {}
    for name, value in shell.user_ns.items():
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist() if value.size < 10_000 else None
        if not name.startswith("_") and isinstance(value, int | float | str | dict | list):
            try:
                json.dumps(value)
            except TypeError:
                continue
            found[name] = value
    return found


if __name__ == "__main__":
    print(f"\n{json.dumps(run(Path(sys.argv[1])))}")
