"""The `digits` command."""

import argparse
import contextlib
import fcntl
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.quiet import stderr_to
from serving.errors import GateRefused, InputError

if TYPE_CHECKING:
    from pipeline.config import RunRoot

OK, REFUSED, BAD_INPUT, INTERNAL_ERROR, INTERRUPTED = 0, 1, 2, 70, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options, Console())
    except InputError as error:
        return _fail(str(error), BAD_INPUT)
    except GateRefused as error:
        return _fail(str(error), REFUSED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone
        return OK
    except Exception as error:
        if options.verbose:
            raise
        return _fail(
            f"internal error: {type(error).__name__}: {error} (--verbose shows where)",
            INTERNAL_ERROR,
        )
    return OK


def _fail(message: str, code: int) -> int:
    print(f"digits: {message}", file=sys.stderr)
    return code


def _run(options: argparse.Namespace, console: Console) -> None:
    from components.recipes import RECIPES
    from components.sources import locate
    from pipeline.config import Gates, PipelineConfig, RunRoot

    root = RunRoot(options.root.absolute())
    with stderr_to(None, verbose=options.verbose):
        location = locate(options.data)
    config = PipelineConfig(
        data=location,
        root=root,
        recipe=RECIPES[options.recipe].with_epochs(options.epochs),
        seed=options.seed,
        gates=Gates(
            min_accuracy=options.min_accuracy,
            min_recall=options.min_recall,
            min_edge_accuracy=options.min_accuracy
            if options.min_edge_accuracy is None
            else options.min_edge_accuracy,
            max_edge_disagreement=options.max_edge_disagreement,
        ),
        enable_cache=options.cache,
    )
    with _exclusive(root), stderr_to(root.log, verbose=options.verbose):
        with console.status("loading TFX"):
            # With it, tfx.v1 imports the client of Vertex AI, a quarter of the start-up time.
            sys.modules["tfx.v1.extensions"] = ModuleType("tfx.v1.extensions")
            from pipeline.run import Interrupted, run_pipeline
        try:
            run_pipeline(config, console)
        except Interrupted as interrupted:
            raise KeyboardInterrupt from interrupted


@contextlib.contextmanager
def _exclusive(root: "RunRoot") -> Iterator[None]:
    """Makes the run root, if need be, and holds it against other runs."""
    try:
        root.path.mkdir(parents=True, exist_ok=True)
        lock = root.log.open("a")
    except OSError as error:
        raise InputError(f"--root {root.path}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"--root {root.path}: another run is using it; wait for it, or name another"
            ) from error
        yield


def _data(options: argparse.Namespace, console: Console) -> None:
    from pipeline.inspect import show_data

    with stderr_to(None, verbose=options.verbose):
        show_data(options.data, options.out, console)


def _model(options: argparse.Namespace, console: Console) -> None:
    from pipeline.inspect import show_model

    with stderr_to(None, verbose=options.verbose):
        show_model(options.recipe, console)


def _predict(options: argparse.Namespace, console: Console) -> None:
    from pipeline.config import RunRoot
    from serving import predict

    root = RunRoot(options.root)
    with stderr_to(None, verbose=options.verbose):
        if options.edge:
            classifier = predict.edge_classifier(predict.latest_version(root.edge))
        else:
            classifier = predict.saved_model_classifier(predict.latest_version(root.serving))
        predictions = predict.predict(options.files, classifier)
    predict.print_predictions(predictions, console, as_json=options.json)


def _serve(options: argparse.Namespace, console: Console) -> None:
    from pipeline.config import RunRoot
    from serving.predict import latest_version
    from serving.server import command

    root = RunRoot(options.root)
    litert = options.backend == "litert"
    if not options.model_config_file and not options.model_base_path:
        options.model_base_path = str(root.edge if litert else root.serving)
        latest_version(Path(options.model_base_path))  # says what to do if there is none
    command.serve(options, litert=litert)


def _parser() -> argparse.ArgumentParser:
    from components.recipes import RECIPES
    from serving.server.command import add_flags

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="show the logs of all libraries")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data",
        default="sample",
        help="sample (5,000 digits, no download), mnist (Keras's download), or the path of an "
        "IDX directory, a folder of pictures by class, a .csv or an .npz (default: sample)",
    )
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument(
        "--root", type=Path, default=Path("run"), metavar="DIR", help="run root (default: run)"
    )
    recipe = argparse.ArgumentParser(add_help=False)
    recipe.add_argument("--recipe", choices=RECIPES, default="seed", help="(default: seed)")

    parser = argparse.ArgumentParser(
        prog="digits", description="Handwritten digits, from raw pixels to served and edge models."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        parents=[data, root, recipe, common],
        help="run the pipeline",
        description="Exit codes: 0 both models pushed, 1 a gate refused, 2 bad input.",
    )
    run.add_argument("--epochs", type=_positive, metavar="N", help="(default: the recipe's)")
    run.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")
    run.add_argument(
        "--min-accuracy", type=_share, default=0.9, metavar="X", help="gate (default: 0.9)"
    )
    run.add_argument(
        "--min-recall",
        type=_share,
        default=0.7,
        metavar="X",
        help="gate, each digit (default: 0.7)",
    )
    run.add_argument(
        "--min-edge-accuracy", type=_share, metavar="X", help="gate (default: --min-accuracy)"
    )
    run.add_argument(
        "--max-edge-disagreement",
        type=_share,
        default=0.01,
        metavar="X",
        help="gate: share of digits that the edge model may label unlike the served model "
        "(default: 0.01)",
    )
    run.add_argument(
        "--no-cache", dest="cache", action="store_false", help="run unchanged components again"
    )
    run.set_defaults(command=_run)

    show_data = commands.add_parser("data", parents=[data, common], help="look at the digits")
    show_data.add_argument(
        "--out", type=Path, default=Path("run"), metavar="DIR", help="of the contact sheet"
    )
    show_data.set_defaults(command=_data)

    show_model = commands.add_parser("model", parents=[recipe, common], help="the layer table")
    show_model.set_defaults(command=_model)

    predict = commands.add_parser(
        "predict", parents=[root, common], help="classify picture files with the pushed model"
    )
    predict.add_argument("files", nargs="+", metavar="FILE", help="PNG or JPEG, any size")
    predict.add_argument("--edge", action="store_true", help="use the edge model")
    predict.add_argument("--json", action="store_true", help="all probabilities, as JSON")
    predict.set_defaults(command=_predict)

    serve = commands.add_parser(
        "serve",
        parents=[root, common],
        help="serve the pushed model with TensorFlow Serving's protocol",
    )
    serve.add_argument(
        "--backend",
        choices=("tensorflow", "litert"),
        default="tensorflow",
        help="the served or the edge model (default: tensorflow)",
    )
    add_flags(serve, model_name="digits", rest_api_port=8501)
    serve.set_defaults(command=_serve)
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a positive integer")
    return value


if __name__ == "__main__":
    sys.exit(main())
