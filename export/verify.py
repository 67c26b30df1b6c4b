"""Checks a bundle of edge models: checksums, description, and what each model answers.

    python verify.py [BUNDLE]     a zip, or its unpacked directory: by default this file's own

Needs ai-edge-litert and NumPy only. Nothing is unpacked to disk, and all sizes are bounded.

Exit codes: 0 sound, 1 damaged or a model answers otherwise than it should, 2 no bundle.
"""

import hashlib
import json
import os
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

DESCRIPTION, CHECKSUMS = "model.json", "SHA256SUMS"
MAX_MEMBERS = 500
MAX_BYTES = 64 * 1024 * 1024  # of one file, and of all

#: LiteRT's kernels: those that it takes by default (XNNPACK's) round here and there otherwise than
#: its own, whose integer arithmetic TensorFlow Lite Micro shares, but for the softmax's last bit.
DEFAULT, BUILT_IN = OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES

_TENSOR = {"shape": list, "dtype": str}
_VARIANT = {
    **{"name": str, "file": str, "bytes": int, "sha256": str, "input": dict, "output": dict},
    **{"golden": str, "kernel_tolerance": (int, float)},
}
_GOLDEN = {"count": int, "digits": str, "labels": str}


class BundleError(Exception):
    """Why a bundle is refused, in one line."""

    def __str__(self) -> str:
        # Names come from the bundle: nothing that moves a terminal's cursor.
        return "".join(c if c.isprintable() else "?" for c in super().__str__())


class NoBundle(BundleError):
    """What was named is no bundle, or an unsafe one."""


class Damaged(BundleError):
    """A bundle that is not what it was."""


@dataclass(frozen=True)
class Answer:
    """How a model answered the golden digits.

    Attributes:
        variant: the model's name.
        digits: how many it was asked.
        correct: to how many it gave the true label.
        exact: to how many LiteRT's built-in kernels gave the very values that are expected; to
            all, unless this processor's arithmetic differs in the last bit.
        difference: the largest difference of a probability between LiteRT's default kernels and
            the expected value, which its built-in kernels gave.
    """

    variant: str
    digits: int
    correct: int
    exact: int
    difference: float

    def __str__(self) -> str:
        return (
            f"{self.variant}: {self.digits} golden digits as expected, {self.exact} exactly, "
            f"{self.correct} right; default kernels within {self.difference:.2g}"
        )


def verify(path: str | os.PathLike[str]) -> list[Answer]:
    """Checks a bundle.

    Raises:
        NoBundle: it cannot be read, or is none.
        Damaged: a file is missing or changed, or a model answers otherwise.
    """
    files = read_bundle(Path(path))
    for name in (CHECKSUMS, DESCRIPTION):
        if name not in files:
            raise NoBundle(f"{path}: no {name}; expected a bundle that `digits run` pushed")
    checked = check_sums(files)
    try:
        description = json.loads(files[DESCRIPTION])
        variants = [
            _checked(v, _VARIANT) for v in _checked(description, {"variants": list})["variants"]
        ]
        golden = _checked(_checked(description, {"golden": dict})["golden"], _GOLDEN)
        for tensor in (variant[end] for variant in variants for end in ("input", "output")):
            _checked(tensor, _TENSOR)
        if (count := golden["count"]) < 1:
            raise ValueError("no golden digits")
    except ValueError as error:
        raise Damaged(f"{DESCRIPTION}: {error}") from error

    def file(name: str) -> bytes:
        if name not in checked:
            raise Damaged(f"{name}: named by {DESCRIPTION}, but not in {CHECKSUMS}")
        return files[name]

    digits = _array(golden["digits"], file(golden["digits"]), "uint8", (count, 28, 28))
    labels = _array(golden["labels"], file(golden["labels"]), "uint8", (count,))
    return [_check_variant(variant, file, digits, labels) for variant in variants]


def read_bundle(path: Path) -> dict[str, bytes]:
    """Reads all files of a directory or a zip into memory.

    Returns:
        Their contents by their names below the bundle's root.

    Raises:
        NoBundle: it cannot be read, is too large, or has names that lead out of it.
        Damaged: a member of the zip is not what it was.
    """
    try:
        if path.is_dir():
            return _read_directory(path)
        if path.exists() and not path.is_file():
            raise NoBundle(f"{path}: neither a file nor a directory")
        with zipfile.ZipFile(path) as archive:
            return _read_zip(path, archive)
    except OSError as error:
        raise NoBundle(f"{path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise NoBundle(f"{path}: not a zip that can be read: {error}") from error


def check_sums(files: Mapping[str, bytes]) -> set[str]:
    """Compares all files with the list of checksums.

    Returns:
        The names that the list has.

    Raises:
        Damaged: a file is missing or differs.
    """
    names = set()
    for line in files[CHECKSUMS].decode("utf-8", "replace").splitlines():
        expected, _, name = line.partition("  ")
        if name not in files:
            raise Damaged(f"{name}: missing")
        found = hashlib.sha256(files[name]).hexdigest()
        if found != expected:
            raise Damaged(
                f"{name}: {len(files[name]):,} bytes with sha256 {found}; {CHECKSUMS} says "
                f"{expected}"
            )
        names.add(name)
    if DESCRIPTION not in names:
        raise Damaged(f"{CHECKSUMS}: does not list {DESCRIPTION}")
    return names


def run(model: bytes, digits: np.ndarray, kernels: OpResolverType = DEFAULT) -> np.ndarray:
    """Runs a model as it is, in batches of the size that it has.

    Args:
        model: of the input [batch, 28, 28, channels]; each channel gets the grey value.
        digits: uint8 [n, 28, 28], white on black.
        kernels: which of LiteRT's.

    Returns:
        [n, 10], of the model's own dtype: quantised values stay what they are.

    Raises:
        ValueError: LiteRT cannot run it.
    """
    try:
        interpreter = Interpreter(
            model_content=model, num_threads=1, experimental_op_resolver_type=kernels
        )
        interpreter.allocate_tensors()
        (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
        batch, _, _, channels = (int(side) for side in source["shape"])
        inputs = np.broadcast_to(quantize(digits, source)[..., None], (*digits.shape, channels))
        padding = -len(inputs) % batch
        inputs = np.concatenate([inputs, np.zeros((padding, *inputs.shape[1:]), inputs.dtype)])
        outputs = []
        for start in range(0, len(inputs), batch):
            interpreter.set_tensor(source["index"], inputs[start : start + batch])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(target["index"]))
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return np.concatenate(outputs)[: len(digits)]


def quantize(digits: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    """Returns pixels as the values of an input tensor, as LiteRT describes it."""
    real = digits.astype(np.float32) / 255
    if np.issubdtype(tensor["dtype"], np.floating):
        return real.astype(tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    bounds = np.iinfo(tensor["dtype"])
    return np.clip(np.round(real / scale) + zero_point, bounds.min, bounds.max).astype(
        tensor["dtype"]
    )


def probabilities(outputs: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    """Returns a model's outputs as probabilities, by its description of the output tensor."""
    if outputs.dtype.kind == "f":
        return outputs.astype(np.float64)
    return (outputs.astype(np.float64) - tensor["zero_point"]) * tensor["scale"]


def _check_variant(
    variant: Mapping[str, Any], file: Callable[[str], bytes], digits: np.ndarray, labels: np.ndarray
) -> Answer:
    name, content = variant["file"], file(variant["file"])
    if len(content) != variant["bytes"] or (
        hashlib.sha256(content).hexdigest() != variant["sha256"]
    ):
        raise Damaged(f"{name}: not the model that {DESCRIPTION} describes")
    output = variant["output"]
    golden = file(variant["golden"])
    expected = _array(variant["golden"], golden, output["dtype"], (len(digits), 10))
    try:
        _check_tensors(name, content, variant)
        built_in = run(content, digits, BUILT_IN)
        default = probabilities(run(content, digits), output)
    except ValueError as error:
        raise Damaged(f"{name}: LiteRT cannot run it: {' '.join(str(error).split())}") from error
    real = probabilities(expected, output)
    tolerance = float(variant["kernel_tolerance"])
    last_bit = tolerance if expected.dtype.kind == "f" else float(output["scale"])
    found = probabilities(built_in, output)
    wrong = (~(np.abs(found - real) <= last_bit)).any(1).sum()  # NaN too
    if wrong:
        raise Damaged(
            f"{name}: other answers than expected to {wrong} of {len(digits)} golden digits"
        )
    difference = float(np.abs(default - real).max())
    if not difference <= tolerance:  # nor NaN
        raise Damaged(
            f"{name}: probabilities of LiteRT's default kernels differ by {difference:.2g}; at "
            f"most {tolerance:.2g} may"
        )
    return Answer(
        variant=variant["name"],
        digits=len(digits),
        correct=int((default.argmax(1) == labels).sum()),
        exact=int((built_in == expected).all(1).sum()),
        difference=difference,
    )


def _check_tensors(name: str, content: bytes, variant: Mapping[str, Any]) -> None:
    interpreter = Interpreter(model_content=content)
    ends = {"input": interpreter.get_input_details(), "output": interpreter.get_output_details()}
    for end, (found,) in ends.items():
        described = variant[end]
        same = (
            found["shape"].tolist() == described["shape"]
            and np.dtype(found["dtype"]).name == described["dtype"]
        )
        if same and np.issubdtype(found["dtype"], np.integer):
            expected = described.get("scale"), described.get("zero_point")
            same = found["quantization"] == expected
        if not same:
            raise Damaged(f"{name}: its {end} tensor is not the one that {DESCRIPTION} describes")


def _read_directory(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    for found in sorted(path.rglob("*")):
        if found.is_symlink() or not found.is_file() or found.suffix == ".zip":
            continue
        total += found.stat().st_size
        if total > MAX_BYTES or len(files) == MAX_MEMBERS:
            raise NoBundle(_too_large(path))
        files[found.relative_to(path).as_posix()] = found.read_bytes()
    return files


def _read_zip(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MAX_MEMBERS or sum(m.file_size for m in members) > MAX_BYTES:
        raise NoBundle(_too_large(path))
    files: dict[str, bytes] = {}
    for member in members:
        name = PurePosixPath(member.filename)
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename or is_link:
            raise NoBundle(f"{path}: member {member.filename!r} leads out of the bundle")
        # All is in one folder, which unpacking makes.
        name = PurePosixPath(*name.parts[1:]) if len(name.parts) > 1 else name
        if str(name) in files:
            raise NoBundle(f"{path}: two members named {member.filename!r}")
        try:
            files[str(name)] = archive.read(member)  # never more than the size that was summed up
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise Damaged(f"{name}: damaged inside the zip: {error}") from error
    return files


def _too_large(path: Path) -> str:
    return f"{path}: too large; a bundle has at most {MAX_MEMBERS} files and {MAX_BYTES:,} bytes"


def _checked(value: Any, keys: Mapping[str, Any]) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object with {', '.join(keys)}")
    for key, kind in keys.items():
        if not isinstance(value.get(key), kind):
            raise ValueError(f"{key!r} is missing or of the wrong type")
    return value


def _array(name: str, content: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    except (ValueError, TypeError) as error:
        raise Damaged(f"{name}: {len(content):,} bytes; expected {dtype} {list(shape)}") from error


def main(arguments: list[str]) -> int:
    """Prints a line a model, or what is wrong; returns the exit code."""
    path = Path(arguments[0]) if arguments else Path(__file__).parent
    try:
        for answer in verify(path):
            print(answer)
    except NoBundle as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2
    except Damaged as error:
        print(f"verify: {path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
