"""How often `digits drift` alarms: on digits like the reference's, and on real shifts.

    make bench-drift DATA=DIRECTORY_OF_IDX_FILES [ARGS="--root run --samples 100"]

The reference is the command's: pictures of the train split, predictions of the validation split.
For `validation`, the control, predictions are compared with one half of it and the samples come
from the other: the same writers, and digits that the model was not trained on. Samples of one row
overlap where they are large.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from components.disturbances import INVERTED, SHIFTED, disturb
from pipeline.config import RunRoot
from pipeline.drift.comparison import compare
from pipeline.drift.features import picture_features, prediction_features
from pipeline.release.versions import pushed_versions
from pipeline.run_data import read_splits
from pipeline.saved_model import load_classifier

SIZES = (200, 500, 2000)
Features = dict[str, np.ndarray]
console = Console(width=110)


def like_usps(images: np.ndarray) -> np.ndarray:
    """Digits at USPS's 16x16 pixels, enlarged again."""
    small = (Image.fromarray(image).resize((16, 16), Image.Resampling.BOX) for image in images)
    return np.stack([np.asarray(i.resize((28, 28), Image.Resampling.BILINEAR)) for i in small])


def features_of(images: np.ndarray, classify: Callable[[np.ndarray], np.ndarray]) -> Features:
    """All features."""
    return picture_features(images) | prediction_features(classify(images))


def alarms(
    reference: Features, pool: Features, size: int, samples: int, alpha: float
) -> tuple[int, dict[str, int]]:
    """Of random samples, how many alarmed, and by which features."""
    generator = np.random.default_rng(size)
    count, by_feature = 0, dict.fromkeys(pool, 0)
    for _ in range(samples):
        rows = generator.choice(len(pool["class mix"]), size, replace=False)
        found = compare(
            reference, {name: values[rows] for name, values in pool.items()}, alpha=alpha
        )
        count += any(comparison.is_drift for comparison in found)
        for comparison in found:
            by_feature[comparison.feature] += comparison.is_drift
    return count, by_feature


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--root", type=Path, default=Path("run"))
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--alpha", type=float, default=0.01)
    options = parser.parse_args()

    versions = pushed_versions(RunRoot(options.root))
    classify = load_classifier(versions[max(versions)].served)
    splits = read_splits(RunRoot(options.root), options.data)
    train = picture_features(splits["train"][0])
    validation = features_of(splits["validation"][0], classify)
    halves = np.random.default_rng(0).permutation(len(validation["class mix"])) % 2
    reference = {**validation, **train}
    # `train` has the pictures' features, so that these come from it in both references.
    control = {**{name: values[halves == 0] for name, values in validation.items()}, **train}
    test = splits["test"][0]
    middle = len(test) // 2
    pools = {
        "validation (control)": (
            control,
            {name: values[halves == 1] for name, values in validation.items()},
        ),
        **{
            name: (reference, features_of(images, classify))
            for name, images in (
                ("test", test),
                ("test, first half (SD-3)", test[:middle]),
                ("test, second half (SD-1)", test[middle:]),
                (f"test, {INVERTED}", disturb(INVERTED, test)),
                (f"test, {SHIFTED}", disturb(SHIFTED, test)),
                ("test, as 16x16 pixels", like_usps(test)),
            )
        },
    }
    title = f"alarms of {options.samples} samples; stated rate of false ones {options.alpha:.2%}"
    table = Table(title=title)
    table.add_column("digits")
    for size in SIZES:
        table.add_column(f"{size} digits", justify="right")
    table.add_column(f"features, of {SIZES[-1]} digits")
    for name, (expected, pool) in pools.items():
        counts = [
            alarms(expected, pool, size, options.samples, options.alpha)
            for size in SIZES
            if size <= len(pool["class mix"])
        ]
        cells = [str(count) for count, _ in counts] + [""] * (len(SIZES) - len(counts))
        which = ", ".join(f"{feature} {n}" for feature, n in counts[-1][1].items() if n)
        table.add_row(name, *cells, which)
    console.print(table)


if __name__ == "__main__":
    main()
