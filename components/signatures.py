"""The signatures of the served model, each with the Transform graph inside.

| signature           | input                                   | meaning                        |
| ------------------- | --------------------------------------- | ------------------------------ |
| `serving_default`   | `images`, uint8 [n, 28, 28]             | pixels 0..255, white on black  |
| `serve_examples`    | `examples`, string [n]                  | serialised `tf.train.Example`s |
| `serve_image_bytes` | `image_bytes`, string [n]               | PNG or JPEG files, any size    |

Each returns `probabilities`, float32 [n, 10], and `label`, int64 [n]. TF Serving does not hold
requests to the declared shape: `serving_default` takes [n, 28, 28, 1] and [n, 784] there too, and
answers any other number of pixels with INVALID_ARGUMENT. The graph does not look at EXIF data: a
photo that they turn has to be turned before it is sent, as `serving/client` and `digits predict`
do.
"""

import json
import os
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.picture_graph import decode_and_centre
from components.preprocessing import IMAGE, LABEL
from components.sources import HEIGHT, PIXELS, WIDTH

#: Describes the exported model beside its graph, where TF Serving lets strangers be.
METADATA_FILE = os.path.join("assets.extra", "model.json")


def export_served_model(
    model: keras.Model,
    transform: tft.TFTransformOutput,
    directory: str,
    metadata: dict[str, Any],
) -> None:
    """Writes a SavedModel that TF Serving loads.

    Uses Keras's `ExportArchive`: a Keras 3 model saved by `tf.saved_model.save` loads in Python
    but not through a TF1 session, which is what TF Serving uses
    (https://github.com/tensorflow/serving/issues/2226).

    Args:
        model: from float32 [n, 28, 28, 1] to float32 [n, 10] probabilities.
        transform: Transform's output.
        directory: where to write.
        metadata: JSON values to write into `METADATA_FILE`.
    """
    transform_layer = transform.transform_features_layer()
    raw_spec = transform.raw_feature_spec()
    raw_spec.pop(LABEL)

    def classify(raw_images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = model(transform_layer({IMAGE: raw_images})[IMAGE], training=False)
        return {"probabilities": probabilities, "label": tf.argmax(probabilities, axis=-1)}

    def serving_default(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return classify(_to_raw_bytes(images))

    def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return classify(tf.io.parse_example(examples, raw_spec)[IMAGE])

    def serve_image_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return classify(_to_raw_bytes(decode_and_centre(image_bytes)))

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.track(transform_layer)
    for function, spec in (
        (serving_default, tf.TensorSpec([None, HEIGHT, WIDTH], tf.uint8, "images")),
        (serve_examples, tf.TensorSpec([None], tf.string, "examples")),
        (serve_image_bytes, tf.TensorSpec([None], tf.string, "image_bytes")),
    ):
        archive.add_endpoint(function.__name__, function, input_signature=[spec])
    archive.write_out(directory, verbose=False)
    path = os.path.join(directory, METADATA_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(json.dumps(metadata, indent=2))


def _to_raw_bytes(images: tf.Tensor) -> tf.Tensor:
    """From uint8 [n, 28, 28] to string [n], what Transform takes: an example's raw bytes."""
    # The reshape, not the convolution, meets a wrong shape: oneDNN aborts the process on one.
    rows = tf.reshape(images, [tf.shape(images)[0], PIXELS])
    return tf.map_fn(
        lambda row: tf.strings.substr(tf.io.serialize_tensor(row), -PIXELS, PIXELS),
        rows,
        fn_output_signature=tf.string,
    )
