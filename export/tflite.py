"""From a trained Keras model to a fully quantised TFLite file."""

import tempfile
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf


def convert_to_uint8(model: keras.Model, representative_dataset: np.ndarray) -> bytes:
    """Quantises weights and activations to 8 bits, with uint8 in and out.

    Post-training integer quantisation: https://ai.google.dev/edge/litert/conversion. The model
    goes through `model.export`: from a concrete function of a Keras 3 model the converter makes,
    without an error, a file that answers NaN. The batch is fixed to one, as browsers and
    microcontrollers need.

    Args:
        model: from float32 [n, 28, 28, 1] to float32 [n, 10] probabilities.
        representative_dataset: float32 [n, 28, 28, 1], inputs of the train split from which the
            activations' ranges are taken.

    Returns:
        The flatbuffer: uint8 [1, 28, 28, 1] to uint8 [1, 10].
    """
    shape = (1, *representative_dataset.shape[1:])

    def inputs() -> Iterator[list[np.ndarray]]:
        for image in representative_dataset:
            yield [image.reshape(shape)]

    with tempfile.TemporaryDirectory() as directory:
        signature = [keras.InputSpec(shape=shape, dtype="float32", name="image")]
        model.export(directory, input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = inputs
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
        return converter.convert()
