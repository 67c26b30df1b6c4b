"""Transform: from the raw bytes of an example to the network's input, inside the graph."""

import tensorflow as tf

from components.sources import HEIGHT, WIDTH

IMAGE = "image"
LABEL = "label"


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Decodes, reshapes and scales.

    Args:
        inputs: `image`, string [n] of 784 raw bytes each; `label`, int64 [n].

    Returns:
        `image`, float32 [n, 28, 28, 1] from 0 to 1; `label`, int64 [n].
    """
    pixels = tf.io.decode_raw(inputs[IMAGE], tf.uint8)
    image = tf.reshape(pixels, [-1, HEIGHT, WIDTH, 1])
    return {IMAGE: tf.cast(image, tf.float32) / 255.0, LABEL: inputs[LABEL]}
