"""Runs `digits` commands that die at a given step, as a power cut or `kill -9` would have it.

    python -m tests.serving.killing

For each line of standard input, a JSON object with `arguments` and `kill_at`, a process of its own
runs the command and ends, with nothing flushed or cleaned up, right after step number `kill_at`. A
step is a file opened for writing, made durable, renamed or removed, or a request to a server. 0
lets the command finish. Its exit code, 137 if killed, is a line of standard output.
"""

import builtins
import json
import os
import sys
from collections.abc import Callable
from typing import Any

# Loaded once here, not by each command.
import pipeline.release.change
import pipeline.release.prune  # noqa: F401
from pipeline.cli import main
from serving.client.model_service import ModelService

KILLED = 137


def _die_after(steps: int) -> None:
    """Replaces what changes a file or asks a server by what does so, and dies in time."""
    left = steps

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            result = function(*arguments, **named)
            left -= 1
            if left == 0:
                os._exit(KILLED)
            return result

        return call

    for name in ("fsync", "replace", "rename", "rmdir", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    ModelService._ask = counted(ModelService._ask)  # type: ignore[method-assign]
    real_open = builtins.open
    open_to_write = counted(real_open)

    def opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        function = open_to_write if "w" in mode else real_open
        return function(file, mode, *arguments, **named)

    builtins.open = opened  # type: ignore[assignment]


def _run(arguments: list[str], kill_at: int) -> int:
    child = os.fork()  # before gRPC has a thread in this process: it only knows its modules
    if child == 0:
        code = KILLED + 1
        try:
            os.dup2(2, 1)
            if kill_at:
                _die_after(kill_at)
            code = main(arguments)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        print(_run(**json.loads(line)), flush=True)
