"""What a bundle says and shows in words and sources, from templates that share their parameters.

The folder is laid out as the bundle is.

A template is a file whose name ends in `.template`, for `string.Template`: `$side` is a parameter,
`$$` a dollar sign.
"""

import shutil
import string
from collections.abc import Mapping
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from serving import pictures

DIRECTORY = Path(__file__).parent
SUFFIX = ".template"


def preprocessing_parameters() -> dict[str, float]:
    """Returns the figures of the reference method, `serving/pictures.py`."""
    red, green, blue = pictures.LUMA
    return {
        "side": pictures.SIDE,
        "box": pictures.BOX,
        "middle": pictures.MIDDLE,
        "noise": pictures.NOISE,
        "min_contrast": pictures.MIN_CONTRAST,
        "red": red,
        "green": green,
        "blue": blue,
        "grey_steps": pictures.GREY_STEPS,
    }


def micro_operators(model: bytes) -> list[str]:
    """Returns the methods of TensorFlow Lite Micro's resolver that add a model's operators."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    parsed = schema.ModelT.InitFromPackedBuf(model, 0)
    codes = {max(code.builtinCode, code.deprecatedBuiltinCode) for code in parsed.operatorCodes}
    return ["Add" + _camel_case(names[code]) for code in sorted(codes)]


def render(directory: Path, parameters: Mapping[str, object]) -> None:
    """Writes what all templates make into a bundle's directory, and copies what is no template.

    Args:
        directory: the bundle's.
        parameters: by the names that templates use.

    Raises:
        KeyError: a template uses a name that is not there.
    """
    for path in sorted(DIRECTORY.rglob("*")):
        if path.is_dir() or path.suffix in {".py", ".pyc"}:
            continue
        target = directory / path.relative_to(DIRECTORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == SUFFIX:
            text = string.Template(path.read_text()).substitute(parameters)
            target.with_suffix("").write_text(text)
        else:
            shutil.copyfile(path, target)


def _camel_case(name: str) -> str:
    """MAX_POOL_2D becomes MaxPool2D."""
    words = name.split("_")
    return "".join(word if word[0].isdigit() else word.capitalize() for word in words)
