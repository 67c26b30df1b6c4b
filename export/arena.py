"""Measures the tensor arena that a model needs in TensorFlow Lite Micro.

    python -m export.arena < MODEL.tflite

A wide layer needs more for a moment, while it is prepared, than what the runtime's allocator
records as allocated in the end: the arena has to be tried. Some that are too small crash the
runtime, so that each is tried in a fork of this process, which does nothing else.
"""

import bisect
import multiprocessing
import os
import sys

from tflite_micro.python.tflite_micro import runtime

ALIGNMENT = 16
#: The runtime's own default, in sizes of the model.
LARGEST = 10


def main() -> None:
    """Prints the smallest arena, in bytes, or why the model loads in none (exit code 1)."""
    content = sys.stdin.buffer.read()
    # Up to the runtime's default itself: a model that loads in none of them fails there, too.
    sizes = range(ALIGNMENT, LARGEST * len(content) + ALIGNMENT, ALIGNMENT)
    at = bisect.bisect_left(sizes, True, key=lambda size: _loads(content, size))
    if at == len(sizes):
        try:
            runtime.Interpreter.from_bytes(content)  # names the operator
        except Exception as error:  # struct.error, if it is no model at all
            sys.exit(f"TensorFlow Lite Micro cannot load the model: {error}")
    print(sizes[at])


def _loads(content: bytes, arena_size: int) -> bool:
    process = multiprocessing.get_context("fork").Process(target=_load, args=(content, arena_size))
    process.start()
    process.join()
    return process.exitcode == 0


def _load(content: bytes, arena_size: int) -> None:
    # Many a size is to fail, which the runtime and Python would tell at length.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    runtime.Interpreter.from_bytes(content, arena_size=arena_size)


if __name__ == "__main__":
    main()
