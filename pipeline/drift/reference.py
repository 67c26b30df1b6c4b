"""What a model learnt from, as features; computed once for each version."""

import io
import json
from pathlib import Path

import numpy as np

from pipeline.atomic import replace_file
from pipeline.config import RunRoot
from pipeline.drift.features import picture_features, prediction_features
from pipeline.release.versions import Version
from pipeline.run_data import read_splits
from serving.errors import InputError


def reference_of(root: RunRoot, version: Version, data: str | None) -> dict[str, np.ndarray]:
    """Returns the features of the digits that a version was made from, from a file if it is there.

    The pictures are those of the train split. The predictions are of the validation split: a
    model is surer of digits that it was trained on than of any others.

    Args:
        root: of the version.
        version: whose predictions.
        data: as `digits run --data`; None: what the run that pushed the version read.

    Raises:
        InputError: the data or the model cannot be read, or the root does not say which data.
    """
    path = root.drift / f"reference-{version.number}.npz"
    if path.exists() and data is None:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: damaged; remove it, to have it made again") from error
    if data is None:
        _require_last_run(root, version.number)
    features = compute_reference(root, version, data)
    _write(path, features)
    return features


def compute_reference(root: RunRoot, version: Version, data: str | None) -> dict[str, np.ndarray]:
    """Computes the features, see `reference_of`."""
    from pipeline.saved_model import load_classifier

    splits = read_splits(root, data)
    for split in ("train", "validation"):
        if split not in splits:
            raise InputError(f"the data has no {split} split; name other: --data")
    probabilities = load_classifier(version.served)(splits["validation"][0])
    return picture_features(splits["train"][0]) | prediction_features(probabilities)


def _require_last_run(root: RunRoot, version: int) -> None:
    try:
        pushed = json.loads(root.summary.read_text())["pushed"]["version"]
    except (OSError, ValueError, KeyError, TypeError):
        pushed = None
    if str(version) != pushed:
        raise InputError(
            f"{root.summary}: does not say which data made version {version}; name it once: --data"
        )


def _write(path: Path, features: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **features)  # type: ignore[arg-type]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
