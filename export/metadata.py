"""Metadata inside a `.tflite` file: what a file says of itself once it has left its bundle.

A JSON buffer in the model's own metadata table, and `labels.txt` in a zip archive behind the
model, where LiteRT's and MediaPipe's tools look for it. Runtimes ignore both.
"""

import io
import json
import zipfile
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

#: As SPDX names it.
LICENCE = "Apache-2.0"
METADATA_NAME = "digits"
LABELS_NAME = "labels.txt"
#: What the schema's `force_align` asks for; the generated Python code ignores it.
BUFFER_ALIGNMENT = 16
_FILE_IDENTIFIER = b"TFL3"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class _AlignedBuffer(schema.BufferT):
    """A buffer whose bytes begin at a multiple of 16, so that no kernel has to copy weights."""

    def __init__(self, data: np.ndarray | None):
        super().__init__()
        self.data = data

    def Pack(self, builder: flatbuffers.Builder) -> int:
        content = b"" if self.data is None else np.asarray(self.data, np.uint8).tobytes()
        if content:
            builder.StartVector(1, len(content), BUFFER_ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if content:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def embed(model: bytes, description: dict[str, Any], labels: list[str]) -> bytes:
    """Returns the model with metadata; what it computes stays the same.

    Args:
        model: a TFLite flatbuffer without metadata of ours.
        description: goes into the buffer as JSON, without blanks: it is in the flash memory of
            microcontrollers too.
        labels: of the outputs, in their order.
    """
    parsed = schema.ModelT.InitFromPackedBuf(model, 0)
    text = json.dumps(description, separators=(",", ":")).encode()
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_NAME, len(parsed.buffers)
    parsed.metadata = [*(parsed.metadata or ()), entry]
    contents = [buffer.data for buffer in parsed.buffers] + [np.frombuffer(text, np.uint8)]
    parsed.buffers = [_AlignedBuffer(content) for content in contents]
    builder = flatbuffers.Builder(len(model))
    builder.Finish(parsed.Pack(builder), _FILE_IDENTIFIER)
    file = io.BytesIO(builder.Output())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_NAME, _EPOCH), "".join(f"{x}\n" for x in labels))
    return file.getvalue()


def read(model: bytes) -> tuple[dict[str, Any], list[str]]:
    """Returns the description and the labels that `embed` put into a model.

    Raises:
        ValueError: there are none.
    """
    parsed = schema.Model.GetRootAs(model, 0)
    for index in range(parsed.MetadataLength()):
        entry = parsed.Metadata(index)
        if entry.Name() == METADATA_NAME.encode():
            description = json.loads(parsed.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
            with zipfile.ZipFile(io.BytesIO(model)) as archive:
                return description, archive.read(LABELS_NAME).decode().splitlines()
    raise ValueError(f"the model has no metadata named {METADATA_NAME!r}")
