"""The method of `serving/pictures.py` as TensorFlow operations, for the served graph."""

import tensorflow as tf

from serving.picture_files import MAX_PIXELS
from serving.pictures import BOX, GREY_STEPS, LUMA, MIDDLE, MIN_CONTRAST, NOISE, SIDE


def decode_and_centre(pictures: tf.Tensor) -> tf.Tensor:
    """Finds the digit in each picture.

    Args:
        pictures: string [n], PNG or JPEG files of any size and colour, upright: TensorFlow's
            decoders do not turn a picture as its EXIF data say.

    Returns:
        uint8 [n, 28, 28], white on black.

    Raises:
        tf.errors.InvalidArgumentError: when run on bytes that are no such picture, or on a
            picture of more than `MAX_PIXELS` pixels.
    """
    signature = tf.TensorSpec([SIDE, SIDE], tf.uint8)
    return tf.map_fn(lambda p: _centre(_to_grey(p)), pictures, fn_output_signature=signature)


def _to_grey(picture: tf.Tensor) -> tf.Tensor:
    is_jpeg = tf.equal(tf.strings.substr(picture, 0, 3), b"\xff\xd8\xff")
    is_png = tf.equal(tf.strings.substr(picture, 0, 4), b"\x89PNG")
    known = tf.debugging.Assert(is_jpeg | is_png, ["not a PNG or JPEG picture"], name="is_picture")
    with tf.control_dependencies([known]):
        shape = tf.cond(is_png, lambda: _png_shape(picture), lambda: _jpeg_shape(picture))
    pixels = tf.reduce_prod(tf.cast(shape, tf.int64))
    bounded = tf.debugging.Assert(pixels <= MAX_PIXELS, ["too many pixels", pixels])
    with tf.control_dependencies([bounded]):
        decoded = tf.cond(
            is_png,
            lambda: _decode_png(picture),
            # The accurate transform is libjpeg's default, which Pillow uses.
            lambda: tf.io.decode_jpeg(picture, dct_method="INTEGER_ACCURATE"),
        )
    decoded = tf.cast(decoded, tf.float32)
    channels = tf.shape(decoded)[2]
    with_alpha = tf.equal(channels % 2, 0)  # grey + alpha, or RGBA
    colours = tf.where(with_alpha, channels - 1, channels)
    luma = tf.where(tf.equal(colours, 3), tf.constant(LUMA), tf.constant([1.0, 0.0, 0.0]))
    grey = tf.linalg.matvec(decoded[:, :, :colours], luma[:colours])
    alpha = tf.where(with_alpha, decoded[:, :, -1] / 255.0, tf.ones_like(grey))
    grey = grey * alpha + 255.0 * (1.0 - alpha)
    return tf.round(grey * GREY_STEPS) / GREY_STEPS


def _decode_png(picture: tf.Tensor) -> tf.Tensor:
    """Decodes with the transparency that the file has.

    TensorFlow does not see that of a grey or RGB file that names one colour as transparent (the
    chunk tRNS), unless it is asked for RGBA; of fewer bits and of palettes it makes nonsense then.
    """
    depth_and_type = tf.strings.substr(picture, 24, 2)
    is_grey_or_rgb = tf.reduce_any(tf.equal(depth_and_type, [b"\x08\x00", b"\x08\x02"]))
    return tf.cond(
        is_grey_or_rgb,
        lambda: tf.io.decode_png(picture, channels=4),
        lambda: tf.io.decode_png(picture),
    )


def _png_shape(picture: tf.Tensor) -> tf.Tensor:
    """Reads width and height from the header, before anything is decoded."""
    return tf.io.decode_raw(tf.strings.substr(picture, 16, 8), tf.int32, little_endian=False)


def _jpeg_shape(picture: tf.Tensor) -> tf.Tensor:
    return tf.image.extract_jpeg_shape(picture)[:2]


def _centre(grey: tf.Tensor) -> tf.Tensor:
    border = tf.sort(tf.concat([grey[0], grey[-1], grey[:, 0], grey[:, -1]], axis=0))
    background = border[tf.size(border) // 2]
    darker, lighter = background - grey, grey - background
    is_dark = tf.reduce_max(darker) > tf.reduce_max(lighter)
    ink = tf.maximum(tf.where(is_dark, darker, lighter), 0.0)
    peak = tf.reduce_max(ink)
    return tf.cond(
        peak < MIN_CONTRAST,
        lambda: tf.zeros([SIDE, SIDE], tf.uint8),
        lambda: _place(tf.where(ink < NOISE * peak, 0.0, ink * (255.0 / peak))),
    )


def _place(ink: tf.Tensor) -> tf.Tensor:
    rows = tf.where(tf.reduce_any(ink > 0, axis=1))[:, 0]
    columns = tf.where(tf.reduce_any(ink > 0, axis=0))[:, 0]
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    sides = tf.cast(tf.shape(ink), tf.float64)
    sides = tf.cast(sides * BOX / tf.reduce_max(sides) + 0.5, tf.int32)
    sides = tf.maximum(sides, 1)
    resized = tf.image.resize(ink[:, :, None], sides, "bilinear", antialias=True)[:, :, 0]
    digit = tf.clip_by_value(tf.floor(resized + 0.5), 0.0, 255.0)
    top = _centring_offset(tf.reduce_sum(digit, axis=1))
    left = _centring_offset(tf.reduce_sum(digit, axis=0))
    height, width = sides[0], sides[1]
    margins = [[top, SIDE - top - height], [left, SIDE - left - width]]
    return tf.ensure_shape(tf.cast(tf.pad(digit, margins), tf.uint8), [SIDE, SIDE])


def _centring_offset(mass: tf.Tensor) -> tf.Tensor:
    size = tf.size(mass)
    middles = tf.range(tf.cast(size, tf.float32)) + 0.5
    centre = tf.reduce_sum(mass * middles) / tf.reduce_sum(mass)
    offset = tf.cast(tf.floor(MIDDLE - centre + 0.5), tf.int32)
    return tf.clip_by_value(offset, 0, SIDE - size)
