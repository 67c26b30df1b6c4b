"""Errors that a person can mend; the command line prints each as one line."""

import re
from typing import ClassVar


class InputError(ValueError):
    """Bad input or usage: names the file or flag, the fault and the remedy (exit code 2)."""


def input_error_in(error: BaseException) -> str | None:
    """Finds the message of an `InputError`, which Beam passes on as text only, with additions."""
    cause: BaseException | None = error
    while cause:
        name = f"{InputError.__module__}.{InputError.__qualname__}: "
        if isinstance(cause, InputError) or name in str(cause):
            return re.split(r" \[while running|\n", str(cause).rpartition(name)[2])[0]
        cause = cause.__cause__ or cause.__context__
    return None


class GateRefused(RuntimeError):
    """A gate refused a model or its data: nothing was pushed (exit code 1)."""


class RunFailed(RuntimeError):
    """A run on a cluster failed, or was stopped (exit code 1)."""


class ServerError(RuntimeError):
    """A model server could not be reached, or answered with an error.

    Attributes:
        address: of the server, as the caller gave it.
        code: the canonical name of a gRPC status, also over REST: NOT_FOUND, UNAVAILABLE, ...
        detail: what the server, or the network, had to say; one line.
    """

    _REMEDIES: ClassVar = {
        "UNAVAILABLE": "; check the address, and that the server is up",
        "NOT_FOUND": "; check the model's name and version",
        "DEADLINE_EXCEEDED": "; allow more time",
    }

    def __init__(self, address: str, code: str, detail: str) -> None:
        super().__init__(address, code, detail)  # what pickle makes it from again
        self.address = address
        self.code = code
        # A stranger's text: one line, nothing that moves a terminal's cursor.
        words = " ".join(detail.split()).rstrip(".")
        self.detail = "".join(c if c.isprintable() else "?" for c in words)[:500]

    def __str__(self) -> str:
        return f"{self.address}: {self.code}: {self.detail}{self._REMEDIES.get(self.code, '')}"
