"""Keeps the noise of TensorFlow, Beam and TFX off the terminal without losing a line of it."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serving.errors import GateRefused, InputError


@contextlib.contextmanager
def stderr_to(log: Path | None, *, verbose: bool = False) -> Iterator[None]:
    """Sends standard error, also that of C++ libraries, to a file.

    When the block fails with anything but an `InputError` or a `GateRefused`, which say all
    themselves, the end of the file is shown.

    Args:
        log: the file, or None for a temporary one.
        verbose: leave standard error alone, and log more to it.

    """
    if verbose:
        logging.basicConfig(level=logging.INFO, force=True)
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with (
        log.open("a+") if log else tempfile.TemporaryFile("w+") as file,
        os.fdopen(terminal, "w") as real,
        contextlib.redirect_stderr(file),
    ):
        os.dup2(file.fileno(), 2)
        handlers, logging.root.handlers = logging.root.handlers, [logging.StreamHandler(file)]
        try:
            yield
        except (InputError, GateRefused, KeyboardInterrupt):
            raise
        except Exception:
            file.seek(0)
            real.writelines([*dict.fromkeys(file)][-20:])
            raise
        finally:
            file.flush()
            os.dup2(terminal, 2)
            logging.root.handlers = handlers
