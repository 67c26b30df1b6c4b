"""The `digits` command: its exit codes, and the options that its sub-commands share.

Each sub-command is in a file of its own, which imports what is slow to load when it is called.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from components.recipes import RECIPES
from pipeline import defaults
from pipeline.commands.bench_edge import add_bench_edge
from pipeline.commands.demo import add_demo
from pipeline.commands.look import add_data, add_model
from pipeline.commands.parity import add_parity
from pipeline.commands.predict import add_predict
from pipeline.commands.run import add_run
from pipeline.commands.serve import add_serve
from pipeline.commands.verify_bundle import add_verify_bundle
from pipeline.commands.watch import add_watch
from pipeline.drift.command import add_drift
from pipeline.kubeflow.command import add_kubeflow
from pipeline.release.command import add_release
from pipeline.report.command import add_report
from serving.argument_types import path
from serving.errors import GateRefused, InputError, RunFailed

#: How Python and TensorFlow, and SQLite say it.
DISK_FULL = ("No space left on device", "disk is full")
OK, REFUSED, BAD_INPUT, INTERNAL_ERROR, INTERRUPTED = 0, 1, 2, 70, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    _prepare_streams()
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except InputError as error:
        return _fail(str(error), BAD_INPUT)
    except (GateRefused, RunFailed) as error:
        return _fail(str(error), REFUSED)
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed; README names the extras", BAD_INPUT)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone
        return OK
    except Exception as error:
        if options.verbose:
            raise
        if any(words in str(error) for words in DISK_FULL):
            return _fail("no space left on the disk; free some, and run this again", REFUSED)
        return _fail(
            f"internal error: {type(error).__name__}: {error} (--verbose shows where)",
            INTERNAL_ERROR,
        )
    return OK


def _prepare_streams() -> None:
    """Makes sure that standard output and error take what is printed, whoever started us."""
    # The number of a closed stream would go to the next file, and into it what is printed.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of ASCII has no tick


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an argument in one line, as all else that is wrong is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"digits: {message}; see {self.prog} --help\n")


class _Version(argparse.Action):
    """Looks the version up when it is asked for: a quarter of the time that the start takes."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print("digits", version("digits"))
        parser.exit()


def _fail(message: str, code: int) -> int:
    line = message.strip().replace("\n", "\\n")  # of a file's name, or of another library
    print(f"digits: {line}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="show the logs of all libraries")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data",
        default=defaults.DATA,
        help="sample (5,000 digits, no download), mnist (Keras's download), or the path of an "
        "IDX directory, a folder of pictures by class, a .csv or an .npz (default: sample)",
    )
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument(
        "--root", type=path, default=Path("run"), metavar="DIR", help="run root (default: run)"
    )
    recipe = argparse.ArgumentParser(add_help=False)
    recipe.add_argument(
        "--recipe", choices=RECIPES, default=defaults.RECIPE, help="(default: seed)"
    )

    parser = _Parser(
        prog="digits", description="Handwritten digits, from raw pixels to served and edge models."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print it, and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = add_run(commands, [data, root, recipe, common])
    add_report(commands, [root, common])
    add_watch(commands, [common], run)
    add_data(commands, [data, common])
    add_model(commands, [recipe, common])
    add_predict(commands, [root, common])
    add_verify_bundle(commands, [common])
    add_parity(commands, [root, common])
    add_serve(commands, [root, common])
    add_demo(commands, [root, common])
    add_bench_edge(commands, [root, common])
    add_release(commands, [root, common])
    add_drift(commands, [root, common])
    add_kubeflow(commands, [common])
    return parser


if __name__ == "__main__":
    sys.exit(main())
