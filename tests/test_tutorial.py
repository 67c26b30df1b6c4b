"""The notebook runs, finds what it says, and is kept without outputs."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.documents import ROOT
from tests.notebook import cells

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def found() -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "tests.notebook", str(NOTEBOOK)],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "agg"},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_it_teaches_what_the_text_does(found):
    assert found["by_hand"] == [320, 18_496, 36_928, 36_928, 650]
    assert found["cnn_accuracy"] > 0.9
    assert found["cnn_accuracy"] > found["dense_accuracy"] > 0.85


def test_the_model_goes_on_to_the_server_and_the_device(found):
    assert all(gate["blessed"] for gate in found["summary"]["gates"].values())
    served, edge = np.array(found["served_labels"]), np.array(found["edge_labels"])
    assert len(served) == len(edge) == 500
    assert np.mean(served != edge) <= 0.01
    assert found["own_answers"]["centred"] == 7
    assert found["own_answers"]["shrunk"] != 7


def test_it_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 10
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}


def test_its_links_lead_somewhere():
    text = "\n".join(cells(NOTEBOOK, "markdown"))
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert len(links) > 5
    for target in links:
        assert (NOTEBOOK.parent / target).exists(), target
