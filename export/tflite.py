"""From a trained Keras model to TFLite files, one for each kind of device."""

import contextlib
import gc
import tempfile
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from export.rgb import CHANNELS, rgb_twin


def convert(model: keras.Sequential, representative_dataset: np.ndarray) -> dict[str, bytes]:
    """Converts one set of weights to every variant.

    The conversions are LiteRT's post-training ones: https://ai.google.dev/edge/litert/conversion.
    The batch is fixed to one, as browsers and microcontrollers need.

    Args:
        model: from float32 [n, 28, 28, 1], 0 to 1, to float32 [n, 10] probabilities.
        representative_dataset: float32 [n, 28, 28, 1], inputs of the train split from which the
            ranges of the activations are taken; they should reach 0 and 1.

    Returns:
        The flatbuffers by variant:

        - `float32`, and `float16`: the latter's weights are half as long, its tensors float32;
        - `dynamic`: float32 in and out, 8-bit weights, activations quantised while it runs;
        - `int8`: 8-bit weights and activations, int8 in and out;
        - `uint8`: the same, but raw pixels in and uint8 out;
        - `uint8_rgb`: the same for colour pictures, uint8 [1, 28, 28, 3].
    """
    with _cheap_collections(), _converter(model) as grey, _converter(rgb_twin(model)) as colour:
        variants = {"float32": grey.convert()}
        grey.optimizations = [tf.lite.Optimize.DEFAULT]
        variants["dynamic"] = grey.convert()
        grey.target_spec.supported_types = [tf.float16]
        variants["float16"] = grey.convert()
        grey.target_spec.supported_types = []
        variants["int8"] = _convert_to_integers(grey, representative_dataset, tf.int8)
        variants["uint8"] = _convert_to_integers(grey, representative_dataset, tf.uint8)
        representative_dataset = np.repeat(representative_dataset, CHANNELS, axis=-1)
        variants["uint8_rgb"] = _convert_to_integers(colour, representative_dataset, tf.uint8)
        return variants


@contextlib.contextmanager
def _converter(model: keras.Model) -> Iterator[tf.lite.TFLiteConverter]:
    """Makes a converter, which can convert to one variant after the other.

    The model goes through `model.export`: from a concrete function of a Keras 3 model the
    converter makes, without an error, a file that answers NaN.
    """
    with tempfile.TemporaryDirectory() as directory:
        shape = (1, *model.input_shape[1:])
        signature = [keras.InputSpec(shape=shape, dtype="float32", name="image")]
        model.export(directory, input_signature=signature, verbose=False)
        yield tf.lite.TFLiteConverter.from_saved_model(directory)


def _convert_to_integers(
    converter: tf.lite.TFLiteConverter, representative_dataset: np.ndarray, dtype: tf.DType
) -> bytes:
    def inputs() -> Iterator[list[np.ndarray]]:
        for image in representative_dataset:
            yield [image[None]]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = inputs
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = dtype
    converter.inference_output_type = dtype
    return converter.convert()


@contextlib.contextmanager
def _cheap_collections() -> Iterator[None]:
    """Spares the garbage collection that each conversion ends with from going through all of TFX.

    That is half of a conversion's time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
