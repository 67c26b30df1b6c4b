"""NumPy arrays of digits, checked: the only part of the client that needs NumPy."""

import numpy as np

from serving.errors import InputError

SIDE = 28
PIXELS = SIDE * SIDE
_ONE = ((SIDE, SIDE), (SIDE, SIDE, 1), (PIXELS,))


def to_pixels(array: np.ndarray) -> list[bytes]:
    """Returns the 784 bytes of each digit, row by row.

    Args:
        array: [28, 28], [28, 28, 1] or [784], or n of them; white on black; whole numbers from 0
            to 255, of any integer or floating-point type.

    Raises:
        InputError: the array has another shape, type or range.
    """
    shape = list(array.shape)
    if array.shape not in _ONE and array.shape[1:] not in _ONE:
        if array.ndim >= 3 and shape[-1] in (3, 4):
            raise InputError(
                f"array {shape} has {shape[-1]} channels; expected grey, as [n, 28, 28]; "
                "colour pictures go in as PNG or JPEG files or as PIL images"
            )
        raise InputError(
            f"array {shape}; expected [28, 28], [n, 28, 28], [n, 28, 28, 1] or [n, 784]; "
            "pictures of other sizes go in as PNG or JPEG files or as PIL images"
        )
    digits = _to_bytes(array).reshape(-1, PIXELS)
    return [row.tobytes() for row in digits]


def _to_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8 or not array.size:
        return array
    expected = "expected pixels from 0 to 255"
    if array.dtype.kind not in "iuf":
        raise InputError(f"array of {array.dtype}; {expected}, as uint8")
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(f"array has values that are NaN or infinite; {expected}")
        if low >= 0 and 0 < high <= 1:
            raise InputError(
                f"array of {array.dtype} from {low:g} to {high:g}; {expected}: multiply by 255 "
                "and round"
            )
    if low < 0 or high > 255:
        raise InputError(f"array of {array.dtype} from {low:g} to {high:g}; {expected}")
    pixels = array.astype(np.uint8)
    if not np.array_equal(pixels, array):
        raise InputError(f"array of {array.dtype} with fractions; {expected}, whole: round them")
    return pixels
