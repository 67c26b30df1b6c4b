"""Stress suite: the default edge model on disturbed digits, with and without preprocessing.

What users of digit apps complain about, "right on the laptop, wrong in the app", is preprocessing
that is missing: so each disturbance is measured twice, on the raw tensors and through the
reference preprocessing, which must undo polarity and place.
"""

from typing import Any

import numpy as np

from components.disturbances import CLEAN, DISTURBANCES, INVERTED, SHIFTED, disturb
from components.edge_metrics import compare_hits
from export.edge_model import EdgeModel
from serving.pictures import centre_digit

#: A sample of the test split: enough to tell half a point, and a second's work.
DIGITS = 1000
#: What the reference preprocessing must undo, to within `MAX_LOSS` of clean digits' accuracy.
UNDONE = (SHIFTED, INVERTED)
MAX_LOSS = 0.005


def measure(model: EdgeModel, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Measures a model under each disturbance, on at most `DIGITS` digits.

    Args:
        model: an edge model.
        images: uint8 [n, 28, 28], white on black.
        labels: int64 [n].

    Returns:
        The number of `digits`, and `disturbances`: by name, `raw_accuracy`,
        `preprocessed_accuracy`, and the latter against clean digits as `compare_hits` has it.
    """
    step = -(-len(images) // DIGITS)
    images, labels = images[::step], labels[::step]
    measured = {}
    for name in DISTURBANCES:
        disturbed = disturb(name, images)
        centred = np.stack([centre_digit(image) for image in disturbed])
        raw = model.predict(disturbed).argmax(1) == labels
        hits = model.predict(centred).argmax(1) == labels
        if name == CLEAN:
            clean_hits = hits
        measured[name] = {
            "raw_accuracy": float(raw.mean()),
            "preprocessed_accuracy": float(hits.mean()),
            **compare_hits(hits, clean_hits),
        }
    return {"digits": len(images), "disturbances": measured}


def refusals(stress: dict[str, Any], *, significance: float) -> list[str]:
    """Returns why the gate refuses, a line each.

    Args:
        stress: what `measure` returned.
        significance: a loss that chance explains, of one draw of shifts, is none.
    """
    found = []
    for name in UNDONE:
        figures = stress["disturbances"][name]
        loss = (figures["lost"] - figures["gained"]) / stress["digits"]
        if loss > MAX_LOSS and figures["loss_p_value"] < significance:
            found.append(
                f"{name}, digits score {loss:.2%} less through the preprocessing than clean ones; "
                f"at most {MAX_LOSS:.2%} may be lost"
            )
    return found
