"""What phones do to a digit that the test split does not: the stress suite's disturbances.

They are NumPy's and SciPy's, not those of the training.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from components.sources import HEIGHT, WIDTH

#: From uint8 [n, 28, 28], white on black, to 0..255 of the same shape; float, unrounded.
Disturbance = Callable[[np.ndarray, np.random.Generator], np.ndarray]

SHIFT = 4
CLEAN = "clean"
SHIFTED = f"shifted by up to {SHIFT} pixels"
INVERTED = "inverted"


def _shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole pixels, each way at random; what leaves the picture is lost."""
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    down, right = rng.integers(0, 2 * SHIFT + 1, (2, len(images), 1))
    rows, columns = np.arange(HEIGHT) + down, np.arange(WIDTH) + right
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _rotate(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angles = rng.uniform(-15, 15, len(images))
    pairs = zip(images.astype(float), angles, strict=True)
    return np.stack([ndimage.rotate(i, angle, reshape=False, order=1) for i, angle in pairs])


def _half(images: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Two by two pixels make one, in the middle."""
    small = images.reshape(-1, HEIGHT // 2, 2, WIDTH // 2, 2).mean((2, 4))
    return np.pad(small, ((0, 0), (HEIGHT // 4, HEIGHT // 4), (WIDTH // 4, WIDTH // 4)))


def _noise(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return images + rng.normal(0, 40, images.shape)


#: Two pixels wide: strokes change by one pixel.
_NEIGHBOURS = (1, 2, 2)

DISTURBANCES: dict[str, Disturbance] = {
    CLEAN: lambda images, _: images,
    SHIFTED: _shift,
    "rotated by up to 15 degrees": _rotate,
    "half the size": _half,
    "noise of standard deviation 40": _noise,
    INVERTED: lambda images, _: 255 - images,
    "strokes a pixel thinner": lambda images, _: ndimage.grey_erosion(images, _NEIGHBOURS),
    "strokes a pixel thicker": lambda images, _: ndimage.grey_dilation(images, _NEIGHBOURS),
    "brighter by 60": lambda images, _: images + 60.0,
    "half the contrast": lambda images, _: images / 2 + 64,
}


def disturb(name: str, images: np.ndarray) -> np.ndarray:
    """Disturbs digits, always the same digits in the same way.

    Args:
        name: one of `DISTURBANCES`.
        images: uint8 [n, 28, 28], white on black.

    Returns:
        uint8 [n, 28, 28].
    """
    disturbed = DISTURBANCES[name](images, np.random.default_rng(0))
    return np.clip(np.round(disturbed), 0, 255).astype(np.uint8)
