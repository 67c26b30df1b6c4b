"""Random changes to training images, inside `tf.data`."""

import math

import tensorflow as tf

from components.recipes import Augmentation
from components.sources import HEIGHT, WIDTH

#: The grey that another contrast leaves as it is: where low, a stronger one thickens strokes.
CONTRAST_MIDDLE = (0.3, 0.7)


def augment(images: tf.Tensor, augmentation: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Changes each image by a random affine map, then strokes, contrast and noise.

    Args:
        images: float32 [n, 28, 28, 1], 0 to 1, black around the digit, in random order.
        augmentation: how far.
        seed: int64 [2]; the same seed gives the same changes.

    Returns:
        float32 [n, 28, 28, 1], 0 to 1.
    """
    # The images of a batch are in random order: the first are as good a choice as any.
    total = tf.shape(images)[0]
    unchanged, images = tf.split(images, [_part(augmentation.unchanged_share, total), -1])
    count = tf.shape(images)[0]
    seeds = tf.unstack(tf.random.split(seed, 12))

    def uniform(low: float, high: float) -> tf.Tensor:
        return tf.random.stateless_uniform([count], seeds.pop(), low, high)

    def uniform_pixels(low: float, high: float) -> tf.Tensor:
        return uniform(low, high)[:, tf.newaxis, tf.newaxis, tf.newaxis]

    angle = uniform(-augmentation.rotation, augmentation.rotation) * (math.pi / 180)
    shear = uniform(-augmentation.shear, augmentation.shear)
    scale = tf.where(
        uniform(0, 1) < augmentation.small_share,
        uniform(*augmentation.small_scale),
        uniform(*augmentation.scale),
    )
    right = uniform(-augmentation.shift, augmentation.shift)
    down = uniform(-augmentation.shift, augmentation.shift)
    changed = _affine(images, angle, shear, scale, right, down)

    # The last, for noise is on the first.
    other = count - _part(augmentation.thickness_share, total)
    thickness = uniform_pixels(-augmentation.thickness, augmentation.thickness)[other:]
    changed = tf.concat([changed[:other], _with_thickness(changed[other:], thickness)], 0)
    middle = uniform_pixels(*CONTRAST_MIDDLE)
    contrast = uniform_pixels(*augmentation.contrast)
    changed = tf.clip_by_value((changed - middle) * contrast + middle, 0.0, 1.0)

    noisy = _part(augmentation.noise_share, total)
    sd = tf.random.stateless_uniform([noisy, 1, 1, 1], seeds.pop(), 0, augmentation.noise_sd / 255)
    noise = tf.random.stateless_normal([noisy, HEIGHT, WIDTH, 1], seeds.pop())
    with_noise = tf.clip_by_value(changed[:noisy] + sd * noise, 0.0, 1.0)
    return tf.concat([unchanged, with_noise, changed[noisy:]], 0)


def _with_thickness(images: tf.Tensor, thickness: tf.Tensor) -> tf.Tensor:
    """Moves each image to the maximum of its 3x3 neighbourhoods, or to the minimum.

    Args:
        images: [n, 28, 28, 1].
        thickness: [n, 1, 1, 1], part of the way; negative to the minimum.
    """
    thickest = tf.nn.max_pool2d(images, 3, 1, "SAME")
    thinnest = -tf.nn.max_pool2d(-images, 3, 1, "SAME")
    return images + thickness * tf.where(thickness > 0, thickest - images, images - thinnest)


def _part(share: float, count: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(share * tf.cast(count, tf.float32)), tf.int32)


def _affine(
    images: tf.Tensor,
    angle: tf.Tensor,
    shear: tf.Tensor,
    scale: tf.Tensor,
    right: tf.Tensor,
    down: tf.Tensor,
) -> tf.Tensor:
    """Shears, rotates and scales about the middle, then shifts; all parameters [n]."""
    # The operation wants the way back, from a pixel of the output to one of the input.
    cos, sin = tf.cos(angle) / scale, tf.sin(angle) / scale
    xx, xy = cos + shear * sin, sin - shear * cos
    yx, yy = -sin, cos
    centre_x, centre_y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    from_x, from_y = centre_x + right, centre_y + down
    zero = tf.zeros_like(angle)
    transforms = tf.stack(
        [
            *(xx, xy, centre_x - xx * from_x - xy * from_y),
            *(yx, yy, centre_y - yx * from_x - yy * from_y),
            *(zero, zero),
        ],
        axis=1,
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[HEIGHT, WIDTH],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
