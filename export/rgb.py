"""The twin of a network for runtimes that only feed colour pictures."""

import keras
import numpy as np

CHANNELS = 3  # MediaPipe's ImageClassifier takes 3 or 4, never 1


def rgb_twin(model: keras.Sequential) -> keras.Sequential:
    """Returns a network for three channels that gives a grey picture the same probabilities.

    The first kernel is divided by three and repeated for each channel: what it sums is then the
    mean of the channels.

    Args:
        model: from float32 [n, height, width, 1] to float32 [n, classes].

    Returns:
        A model from float32 [n, height, width, 3] to float32 [n, classes].
    """
    height, width, _ = model.input_shape[1:]
    twin = keras.Sequential(
        [
            keras.Input((height, width, CHANNELS), name="image"),
            *(type(layer).from_config(layer.get_config()) for layer in model.layers),
        ],
        name=f"{model.name}_rgb",
    )
    twin.set_weights(
        [
            _repeat(weights, variable.shape)
            for weights, variable in zip(model.get_weights(), twin.weights, strict=True)
        ]
    )
    return twin


def _repeat(weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Spreads weights over the axis, if any, that the channels have made longer."""
    for axis, (old, new) in enumerate(zip(weights.shape, shape, strict=True)):
        if new == old * CHANNELS:
            weights = np.repeat(weights / CHANNELS, CHANNELS, axis)
    return weights
