"""`digits verify-bundle`: its options and exit codes."""

import argparse
from typing import Any

from serving.argument_types import path
from serving.errors import GateRefused, InputError
from serving.quiet import stderr_to


def add_verify_bundle(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--verbose`.
    """
    verify = commands.add_parser(
        "verify-bundle",
        parents=parents,
        help="check a bundle of edge models: checksums, and what each answers",
        description="Exit codes: 0 sound, 1 damaged or a model answers otherwise, 2 no bundle.",
    )
    verify.add_argument("bundle", type=path, metavar="BUNDLE", help="the zip, or its directory")
    verify.set_defaults(command=_verify_bundle)


def _verify_bundle(options: argparse.Namespace) -> None:
    from export import verify

    with stderr_to(None, verbose=options.verbose):
        try:
            answers = verify.verify(options.bundle)
        except verify.NoBundle as error:
            raise InputError(str(error)) from error
        except verify.Damaged as error:
            raise GateRefused(f"{options.bundle}: {error}") from error
    for answer in answers:
        print(answer)
