"""What of a digit and of its prediction is watched."""

import numpy as np

CHUNK = 256
#: Figures of the pictures, in the order of the table.
PICTURE_FEATURES = (
    "ink mass",
    "slant",
    "stroke thickness",
    "horizontal position",
    "vertical position",
)
#: Figures of the answers.
PREDICTION_FEATURES = ("entropy", "confidence", "class mix")


def picture_features(images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the figures of digits.

    Args:
        images: uint8 [n, 28, 28], white on black.

    Returns:
        float64 [n] of each of `PICTURE_FEATURES`, NaN where a picture without ink has none: mean
        of the pixels, 0 to 1; horizontal shift for each row downwards, negative to the right at
        the top; width in pixels; centre of mass in pixels from the left and from the top.
    """
    starts = range(0, len(images), CHUNK)
    parts = [_features(images[start : start + CHUNK]) for start in starts]
    empty = dict.fromkeys(PICTURE_FEATURES, np.empty(0))
    return {
        name: np.concatenate([part[name] for part in [empty, *parts]]) for name in PICTURE_FEATURES
    }


def _features(images: np.ndarray) -> dict[str, np.ndarray]:
    ink = images / 255
    mass = ink.sum((1, 2))
    rows, columns = ink.sum(2), ink.sum(1)
    side = np.arange(ink.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = columns @ side / mass, rows @ side / mass
        from_x = side - x[:, None]
        from_y = side - y[:, None]
        covariance = np.einsum("nyx,ny,nx->n", ink, from_y, from_x)
        slant = covariance / (rows * from_y**2).sum(1)
        # Of a band, area over half the outline; the outline is the total variation of a picture
        # whatever its shades (the coarea formula).
        framed = np.pad(ink, ((0, 0), (0, 1), (0, 1)))
        down, right = np.diff(framed, axis=1)[:, :, :-1], np.diff(framed, axis=2)[:, :-1]
        thickness = 2 * mass / np.hypot(down, right).sum((1, 2))
    values = (mass / ink[0].size, slant, thickness, x, y)
    return dict(zip(PICTURE_FEATURES, values, strict=True))


def prediction_features(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the figures of answers.

    Args:
        probabilities: float32 [n, 10].

    Returns:
        [n] of each of `PREDICTION_FEATURES`: entropy in nats; the greatest probability; the most
        probable digit, int64.
    """
    chosen = np.maximum(probabilities.astype(np.float64), 1e-30)
    return {
        "entropy": -(probabilities * np.log(chosen)).sum(1),
        "confidence": probabilities.max(1),
        "class mix": probabilities.argmax(1),
    }
