"""Batch normalization that helps a network train and is gone from the network that is served."""

import keras
import numpy as np
from keras import layers


def normalized_twin(network: keras.Sequential, dtype: str) -> keras.Sequential:
    """Returns a network that trains in place of another: same kernels, normalized activations.

    Every hidden layer but the first is followed by batch normalization (Ioffe and Szegedy, 2015)
    in place of its bias; without a scale of its own, since what follows is linear in it.
    Pooling moves before activation and normalization, both of which rise with their input: the
    result is the same, on a quarter of the values.

    Args:
        network: a stack of convolutions, poolings and dense layers.
        dtype: Keras's dtype policy of the hidden layers; the last layer is float32.
    """
    twin = keras.Sequential([keras.Input(network.input_shape[1:], name="image")])
    *hidden, last = (layer for layer in network.layers if hasattr(layer, "kernel"))
    following = [*network.layers[1:], None]
    waiting: list[layers.Layer] = []
    for layer, next_layer in zip(network.layers, following, strict=True):
        config = layer.get_config() | ({} if layer is last else {"dtype": dtype})
        if layer in hidden:
            waiting = [layers.Activation(config["activation"], dtype=dtype)]
            config["activation"] = None
            if layer is not hidden[0]:
                waiting.insert(0, layers.BatchNormalization(scale=False, dtype=dtype))
                config["use_bias"] = False
        twin.add(type(layer).from_config(config))
        if not isinstance(next_layer, layers.MaxPooling2D):
            for rest in waiting:
                twin.add(rest)
            waiting = []
    return twin


def fold(twin: keras.Sequential, network: keras.Sequential) -> None:
    """Gives a network the weights with which it computes what its trained twin does at inference.

    Args:
        twin: what `normalized_twin` returned, trained.
        network: what it was made from; its weights are overwritten.
    """
    trained: list[tuple[layers.Layer, layers.BatchNormalization | None]] = []
    for layer in twin.layers:
        if hasattr(layer, "kernel"):
            trained.append((layer, None))
        elif isinstance(layer, layers.BatchNormalization):
            trained[-1] = (trained[-1][0], layer)
    targets = (layer for layer in network.layers if hasattr(layer, "kernel"))
    for target, (source, norm) in zip(targets, trained, strict=True):
        if norm is None:
            target.set_weights(source.get_weights())
        else:
            beta, mean, variance = norm.get_weights()
            deviation = np.sqrt(variance + norm.epsilon)
            (kernel,) = source.get_weights()
            target.set_weights([kernel / deviation, beta - mean / deviation])
