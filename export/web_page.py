"""The files of the web page of `export/web/`, with an edge model: all that may be served."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from export.edge_model import MODEL_FILE, EdgeModel
from serving.errors import InputError

SOURCES = Path(__file__).parent / "web"

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".tflite": "application/octet-stream",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
#: Files of the page itself.
_OWN = (
    "app.js",
    "classifier.js",
    "icon.svg",
    "index.html",
    "manifest.webmanifest",
    "offline.js",
    "pad.js",
    "pictures.js",
    "preprocess.js",
    "server.js",
    "service-worker.js",
    "style.css",
    "view.js",
)
#: LiteRT.js, by the name that the page knows. `compat` is for browsers without relaxed SIMD.
_VENDOR = {
    "vendor/litert/index.js": "@litertjs/core/dist/index.js",
    "vendor/wasm-utils/index.js": "@litertjs/wasm-utils/dist/index.js",
    **{
        f"vendor/litert/wasm/{name}": f"@litertjs/core/wasm/{name}"
        for kind in ("", "_compat")
        for name in (f"litert_wasm{kind}_internal.js", f"litert_wasm{kind}_internal.wasm")
    },
}


@dataclass(frozen=True)
class PageFile:
    """A file as a web server sends it.

    Attributes:
        content_type: the value of the HTTP header.
        content: all of it.
        tag: the value of the header ETag, made from the content.
    """

    content_type: str
    content: bytes
    tag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> "PageFile":
        """Takes the type from the name's suffix."""
        kind = _CONTENT_TYPES[Path(name).suffix]
        return cls(kind, content, f'"{sha256(content).hexdigest()[:32]}"')


def page_files(edge_directory: Path, *, server: str | None = None) -> dict[str, PageFile]:
    """Reads all files of the page.

    Args:
        edge_directory: a version of the edge model, as `digits run` pushes it.
        server: the address of the model server that the page may ask, to be shown.

    Returns:
        The files by their path from the page's address, without a leading slash.

    Raises:
        InputError: the JavaScript packages are not installed, or the model is none.
    """
    model = EdgeModel(edge_directory / MODEL_FILE)
    content = (edge_directory / MODEL_FILE).read_bytes()
    description = {
        "version": edge_directory.name,
        "bytes": len(content),
        "output": asdict(model.output),
        "server": server,
    }
    contents = {
        **dict(_read_sources()),
        "digits.tflite": content,
        "page.json": json.dumps(description).encode(),
    }
    return {name: PageFile.of(name, content) for name, content in contents.items()}


def _read_sources() -> Iterator[tuple[str, bytes]]:
    packages = SOURCES / "node_modules"
    sources = {name: SOURCES / name for name in _OWN}
    sources |= {name: packages / path for name, path in _VENDOR.items()}
    for name, path in sources.items():
        try:
            yield name, path.read_bytes()
        except FileNotFoundError as error:
            raise InputError(
                f"{path}: not there; run `make web` (npm ci in {SOURCES}), which needs Node.js"
            ) from error


def write_page(files: Mapping[str, PageFile], directory: Path) -> None:
    """Writes the files into a new or empty directory, for any static web host.

    Raises:
        InputError: the directory is in use, or cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".") as temporary:
            beside = Path(temporary, "page")
            for name, file in files.items():
                path = beside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
            beside.rename(directory)
    except OSError as error:
        raise InputError(
            f"--export {directory}: {error.strerror}; name a new or an empty directory"
        ) from error
