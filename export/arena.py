"""Measures the tensor arena that a model needs in TensorFlow Lite Micro.

    python -m export.arena < MODEL.tflite

A wide layer needs more for a moment, while it is prepared, than what the runtime's allocator
records as allocated in the end: the arena has to be tried. Some that are too small crash the
runtime, so that each is tried in a fork of this process, which does nothing else.
"""

import bisect
import multiprocessing
import sys

from tflite_micro.python.tflite_micro import runtime

ALIGNMENT = 16
#: The runtime's own default, in sizes of the model.
LARGEST = 10


def main() -> None:
    """Prints the smallest arena, in bytes; exits with 1 where the model loads in none."""
    content = sys.stdin.buffer.read()
    sizes = range(ALIGNMENT, LARGEST * len(content), ALIGNMENT)
    at = bisect.bisect_left(sizes, True, key=lambda size: _loads(content, size))
    if at == len(sizes):
        sys.exit("TensorFlow Lite Micro cannot load the model")
    print(sizes[at])


def _loads(content: bytes, arena_size: int) -> bool:
    process = multiprocessing.get_context("fork").Process(
        target=runtime.Interpreter.from_bytes,
        args=(content,),
        kwargs={"arena_size": arena_size},
    )
    process.start()
    process.join()
    return process.exitcode == 0


if __name__ == "__main__":
    main()
