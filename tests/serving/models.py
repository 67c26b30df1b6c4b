"""Tiny models for the conformance tests, and the flags of a server that has them.

`python -m tests.serving.models DIR` writes them and prints the command, so that the same tests
can be pointed at TensorFlow Serving's own binary.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

tf1 = tf.compat.v1
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

HALF_PLUS_TWO = "half_plus_two"
HALF_PLUS_TWO_VERSION = 123
#: Types whose tensors a signature `identity_TYPE` hands back.
IDENTITY_TYPES = ("uint8", "int8", "int16", "int32", "int64", "uint32", "uint64", "bool", "float64")

CONFIG = """
model_config_list {{
  config {{ name: "half_plus_two" base_path: "{root}/half_plus_two" model_platform: "tensorflow" }}
  config {{
    name: "times" base_path: "{root}/times" model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
}}
"""
MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n'

Signatures = dict[str, meta_graph_pb2.SignatureDef]


def write_models(root: Path) -> list[str]:
    """Writes the models and their configuration; returns the flags of a server."""
    write_saved_model(root / HALF_PLUS_TWO / str(HALF_PLUS_TWO_VERSION), _half_plus_two)
    for factor in (1, 2, 3):
        write_times(root / "times" / str(factor), factor)
    (root / "models.config").write_text(CONFIG.format(root=root))
    (root / "monitoring.config").write_text(MONITORING)
    return [
        f"--model_config_file={root}/models.config",
        f"--monitoring_config_file={root}/monitoring.config",
        "--allow_version_labels_for_unavailable_models=true",
    ]


def write_times(directory: Path, factor: float) -> None:
    """Writes a model that multiplies: `x`, float [n], to `y`."""

    def build() -> Signatures:
        x = tf1.placeholder(tf.float32, [None], "x")
        y = x * tf1.get_variable("factor", initializer=tf.constant(factor, tf.float32))
        return {"serving_default": signature({"x": x}, {"y": y})}

    write_saved_model(directory, build)


def write_saved_model(directory: Path, build: Callable[[], Signatures]) -> None:
    """Writes the signatures that a function builds in a graph of their own."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        signatures = build()
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map=signatures, strip_default_attrs=True
        )
        builder.save()


def signature(
    inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor], method: str = PREDICT
) -> meta_graph_pb2.SignatureDef:
    """Returns a signature of tensors."""
    return tf1.saved_model.build_signature_def(
        {name: tf1.saved_model.build_tensor_info(tensor) for name, tensor in inputs.items()},
        {name: tf1.saved_model.build_tensor_info(tensor) for name, tensor in outputs.items()},
        method,
    )


def _half_plus_two() -> Signatures:
    a = tf1.get_variable("a", initializer=0.5)
    b = tf1.get_variable("b", initializer=2.0)
    examples = tf1.placeholder(tf.string, [None], "examples")
    feature = tf1.parse_example(examples, {"x": tf1.FixedLenFeature([1], tf.float32)})["x"]
    x = tf.identity(feature, "x")
    y = a * x + b
    labels = tf.repeat([[b"low", b"high"]], tf.shape(y)[0], axis=0)
    first = tf1.placeholder(tf.float32, [None], "first")
    second = tf1.placeholder(tf.float32, [None], "second")
    words = tf1.placeholder(tf.string, [None], "words")
    image = tf1.placeholder(tf.float32, None, "image")
    signatures = {
        "serving_default": signature({"x": x}, {"y": y}),
        "regress": signature({"inputs": examples}, {"outputs": y}, REGRESS),
        "classify": signature({"inputs": examples}, {"scores": y}, CLASSIFY),
        "classify_labels": signature(
            {"inputs": examples},
            {"classes": labels, "scores": tf.concat([y, y * 2], 1)},
            CLASSIFY,
        ),
        "sum": signature(
            {"first": first, "second": second},
            {"sum": first + second, "difference": first - second},
        ),
        "words": signature(
            {"words": words}, {"text": tf.identity(words), "text_bytes": tf.identity(words)}
        ),
        "constant": signature({"first": first}, {"one": tf.constant(1.0)}),
        # oneDNN's convolution aborts the process on an input of another rank.
        "convolution": signature(
            {"image": image}, {"y": tf.nn.conv2d(image, tf.ones([3, 3, 1, 1]), 1, "SAME")}
        ),
        "pool": signature({"image": image}, {"y": tf.nn.max_pool3d(image, 2, 2, "VALID")}),
    }
    for name in IDENTITY_TYPES:
        value = tf1.placeholder(name, [None], f"value_{name}")
        signatures[f"identity_{name}"] = signature({"x": value}, {"y": tf.identity(value)})
    return signatures


def main() -> None:
    """Writes the models where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    root = parser.parse_args().directory.absolute()
    flags = write_models(root)
    flags += ["--port=8500", "--rest_api_port=8501", "--enable_grpc_healthcheck_service=true"]
    print("tensorflow_model_server " + " ".join(flags))


if __name__ == "__main__":
    main()
