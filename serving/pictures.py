"""From any picture of one digit to the 28x28 bytes that the network knows, as MNIST was made.

The method, which `components/picture_graph.py` repeats inside the served graph:

1. Decode; turn upright, as EXIF data say (the graph cannot); put transparency on white;
   grey = 0.299 R + 0.587 G + 0.114 B, to a 64th: the last bits of such a sum are the processor's,
   and decide for a pixel that is just at a bound below.
2. The background is the median of the outermost pixels. Ink is what deviates from it, in the
   direction (darker or lighter) that deviates further; stretch it so that its peak is 255.
   Ink under a tenth of the peak is noise. A picture without contrast becomes all zero.
3. Crop to the ink; resize so that the longer side is 20 pixels (triangle filter, anti-aliased).
4. Put it into 28x28 zeros with its centre of mass nearest to the middle of pixel (14, 14), uncut.

Source of 3 and 4: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

import io

import numpy as np
from PIL import Image

from serving.picture_files import decode

SIDE = 28
BOX = 20
MIDDLE = 14.5  # of pixel 14, in pixels from the edge: where every digit of MNIST has its centre
NOISE = 0.1
MIN_CONTRAST = 16.0
LUMA = (0.299, 0.587, 0.114)
GREY_STEPS = 64


def encode_png(image: np.ndarray) -> bytes:
    """Encodes uint8 [height, width] or [height, width, channels] pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def to_grey(data: bytes) -> np.ndarray:
    """Decodes a PNG or JPEG picture to grey values, float32 [height, width] from 0 to 255.

    Raises:
        InputError: the picture is damaged or has more than `MAX_PIXELS` pixels.
    """
    picture = decode(data)
    if picture.mode.startswith("I"):  # 16-bit grey
        return np.floor(np.asarray(picture, np.float32) / 256)
    rgba = np.asarray(picture.convert("RGBA"), np.float32)
    alpha = rgba[..., 3] / 255
    grey = rgba[..., :3] @ np.array(LUMA, np.float32) * alpha + 255 * (1 - alpha)
    return np.round(grey * GREY_STEPS) / GREY_STEPS


def centre_digit(grey: np.ndarray) -> np.ndarray:
    """Finds the digit in a picture and sizes and places it as MNIST's are.

    Args:
        grey: float [height, width], 0 to 255, of either polarity.

    Returns:
        uint8 [28, 28], white on black.
    """
    grey = grey.astype(np.float32)
    ends = (grey[0], grey[-1], grey[:, 0], grey[:, -1])
    border = np.sort(np.concatenate(ends))
    background = border[len(border) // 2]
    darker, lighter = background - grey, grey - background
    ink = np.maximum(darker if darker.max() > lighter.max() else lighter, 0)
    peak = ink.max()
    if peak < MIN_CONTRAST:
        return np.zeros((SIDE, SIDE), np.uint8)
    ink = np.where(ink < NOISE * peak, 0, ink * (255 / peak)).astype(np.float32)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, int(side * BOX / max(ink.shape) + 0.5)) for side in ink.shape)
    resized = Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR)
    digit = np.clip(np.floor(np.asarray(resized) + 0.5), 0, 255)
    top = _centring_offset(digit.sum(1))
    left = _centring_offset(digit.sum(0))
    out = np.zeros((SIDE, SIDE), np.uint8)
    out[top : top + height, left : left + width] = digit
    return out


def _centring_offset(mass: np.ndarray) -> int:
    """Where the axis must start for its centre of mass to lie nearest to the middle."""
    centre = (mass * (np.arange(len(mass)) + 0.5)).sum() / mass.sum()
    return int(np.clip(np.floor(MIDDLE - centre + 0.5), 0, SIDE - len(mass)))
