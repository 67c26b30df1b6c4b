"""Errors that a person can mend; the command line prints each as one line."""


class InputError(ValueError):
    """Bad input or usage: names the file or flag, the fault and the remedy (exit code 2)."""


class GateRefused(RuntimeError):
    """A gate refused a model or its data: nothing was pushed (exit code 1)."""
