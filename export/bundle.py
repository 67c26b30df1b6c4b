"""The bundle of an app developer: models, what they answer, and how to use them, in one folder.

models/*.tflite, labels.txt     the edge models
model.json                      their description, which model.schema.json describes
golden/                         digits and pictures, and what is to come of them
sources/                        complete sources for each language
README.md, verify.py, SHA256SUMS
"""

import hashlib
import json
import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from export import templates, verify
from export.description import DESCRIPTION_FILE
from export.edge_model import DEFAULT_VARIANT, MODEL_FILE
from export.metadata import LICENCE
from serving.pictures import centre_digit, encode_png, to_grey

GOLDEN_DIGITS = 256
GOLDEN_PICTURES = 21
FLOAT_TOLERANCE, DYNAMIC_TOLERANCE = 1e-4, 1e-2
_EPOCH = (1980, 1, 1, 0, 0, 0)


def assemble(directory: Path, digits: np.ndarray, labels: np.ndarray) -> None:
    """Makes a bundle, but for its checksums, of a directory of edge models.

    Args:
        directory: has `labels.txt`, `model.json` and the models that it names.
        digits: uint8 [n, 28, 28], the golden ones: raw digits of the test split.
        labels: int64 [n].
    """
    description = json.loads((directory / DESCRIPTION_FILE).read_text())
    description["golden"] = _write_golden(directory, digits, labels)
    for variant in description["variants"]:
        content = (directory / variant["file"]).read_bytes()
        answers = verify.run(content, digits, verify.BUILT_IN)
        variant["golden"] = f"golden/{variant['name']}.bin"
        variant["kernel_tolerance"] = kernel_tolerance(content)
        (directory / variant["golden"]).write_bytes(answers.tobytes())
    description["licence"] = LICENCE
    description["preprocessing"]["parameters"] = templates.preprocessing_parameters()
    description["arena_bytes"] = _arena_bytes((directory / MODEL_FILE).read_bytes())
    _write_sources(directory, description)
    (directory / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n")


def seal(directory: Path) -> Path:
    """Gives an assembled bundle its checksums, and packs it.

    Returns:
        The zip, in the bundle's directory. The same files give the same bytes.
    """
    version = json.loads((directory / DESCRIPTION_FILE).read_text())["version"]
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(directory)}\n"
        for file in files
    ]
    (directory / verify.CHECKSUMS).write_text("".join(sums))
    name = f"digits-{version}"
    archive_path = directory / f"{name}.zip"
    with zipfile.ZipFile(archive_path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in [*files, directory / verify.CHECKSUMS]:
            member = zipfile.ZipInfo(f"{name}/{file.relative_to(directory)}", _EPOCH)
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, file.read_bytes())
    return archive_path


def kernel_tolerance(model: bytes) -> float:
    """Returns by how much a probability may differ between two kernels that round otherwise.

    Floating-point kernels add in other orders. Those of the dynamic variant quantise activations
    while they run, each in its own way. Integer kernels may differ by two steps of the logits,
    the softmax's inputs (one is not enough for one digit in ten thousand): all up or down by 2 s,
    s the scale, a probability moves by at most tanh(s), and by one step of its own.
    """
    parsed = schema.ModelT.InitFromPackedBuf(model, 0)
    (graph,) = parsed.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in parsed.operatorCodes]
    (softmax,) = (
        operator
        for operator in graph.operators
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.SOFTMAX
    )
    logits, output = (graph.tensors[ends[0]] for ends in (softmax.inputs, softmax.outputs))
    if output.type == schema.TensorType.FLOAT32:
        return DYNAMIC_TOLERANCE if is_quantised(model) else FLOAT_TOLERANCE
    return math.tanh(logits.quantization.scale[0]) + float(output.quantization.scale[0])


def is_quantised(model: bytes) -> bool:
    """Says whether any weights or activations of a model are small integers."""
    types = {schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT4}
    graphs = schema.ModelT.InitFromPackedBuf(model, 0).subgraphs
    return any(tensor.type in types for graph in graphs for tensor in graph.tensors)


def _write_golden(directory: Path, digits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Writes digits and pictures, without headers, so that any language can read them."""
    folder = directory / "golden"
    (folder / "pictures").mkdir(parents=True)
    (folder / "digits.bin").write_bytes(digits.tobytes())
    (folder / "labels.bin").write_bytes(labels.astype(np.uint8).tobytes())
    names, centred = [], []
    for index, digit in enumerate(digits[:GOLDEN_PICTURES]):
        names.append(f"golden/pictures/{index:02}.png")
        picture = encode_png(_look(digit, index))
        (directory / names[-1]).write_bytes(picture)
        centred.append(centre_digit(to_grey(picture)))
    (folder / "pictures.bin").write_bytes(np.stack(centred).tobytes())
    return {
        "count": len(digits),
        "digits": "golden/digits.bin",
        "labels": "golden/labels.bin",
        "pictures": names,
        "centred_pictures": "golden/pictures.bin",
    }


def _look(digit: np.ndarray, index: int) -> np.ndarray:
    """A picture of a digit as apps meet it: uint8 [height, width] or [height, width, channels]."""
    large = np.zeros((220, 300), np.uint8)
    large[30:198, 100:268] = np.asarray(Image.fromarray(digit).resize((168, 168)))
    noise = np.random.default_rng(index).integers(0, 20, large.shape)
    small = np.zeros((40, 30), np.uint8)
    small[20:34, 3:17] = np.asarray(Image.fromarray(digit).resize((14, 14)))
    looks = (
        digit,
        255 - digit,
        large,
        np.clip(230 - large.astype(int) * 0.7 + noise, 0, 255).astype(np.uint8),
        np.stack([large, large // 2, 255 - large], -1),
        np.stack([0 * large, 0 * large, 0 * large, large], -1),
        small,
    )
    return looks[index % len(looks)]


def _arena_bytes(model: bytes) -> int | None:
    """Measures it where TensorFlow Lite Micro is installed and can load the model."""
    try:
        from export.micro import arena_bytes
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("tflite_micro"):
            return None
        raise
    try:
        return arena_bytes(model)
    except ValueError:  # phones and browsers run more than microcontrollers do
        return None


def _write_sources(directory: Path, description: Mapping[str, Any]) -> None:
    content = (directory / MODEL_FILE).read_bytes()
    (output,) = (v["output"] for v in description["variants"] if v["name"] == DEFAULT_VARIANT)
    operators = templates.micro_operators(content)
    templates.render(
        directory,
        {
            **templates.preprocessing_parameters(),
            "model": MODEL_FILE,
            "model_name": Path(MODEL_FILE).name,
            "model_stem": DEFAULT_VARIANT,
            "classes": output["shape"][-1],
            "output_scale": output["scale"],
            "output_zero_point": output["zero_point"],
            "golden_count": description["golden"]["count"],
            "op_count": len(operators),
            "add_ops": "\n".join(f"    operators.{operator}();" for operator in operators),
            "model_bytes": len(content),
            "model_sha256": hashlib.sha256(content).hexdigest(),
            "arena": arena_definition(description["arena_bytes"]),
            "model_array": "\n".join(
                "  " + " ".join(f"{byte}," for byte in content[start : start + 24])
                for start in range(0, len(content), 24)
            ),
        },
    )
    shutil.copyfile(verify.__file__, directory / "verify.py")


def arena_definition(arena_bytes: int | None) -> str:
    """Returns the lines of C that size the tensor arena, or say how to."""
    if arena_bytes is None:
        return (
            "/* Not measured: when the bundle was made, TensorFlow Lite Micro was not there, or\n"
            " * did not load the model. In a checkout of Digits,\n"
            f" *     python -m export.arena < {MODEL_FILE}\n"
            " * prints it, or says why not. */\n"
            "#ifndef DIGITS_ARENA_BYTES\n"
            '#error "define DIGITS_ARENA_BYTES, the bytes of the tensor arena"\n'
            "#endif"
        )
    return (
        "/* Measured with TensorFlow Lite Micro on a machine of 64 bits, whose pointers take\n"
        " * twice the room of a microcontroller's. Optimised kernels, say CMSIS-NN's, may ask\n"
        " * for more. */\n"
        f"#ifndef DIGITS_ARENA_BYTES\n#define DIGITS_ARENA_BYTES {arena_bytes}\n#endif"
    )
