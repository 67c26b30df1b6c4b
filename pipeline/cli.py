"""The `digits` command."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline import defaults
from pipeline.quiet import stderr_to
from serving.errors import GateRefused, InputError, RunFailed

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import RunRoot
    from serving.prediction import Prediction

OK, REFUSED, BAD_INPUT, INTERNAL_ERROR, INTERRUPTED = 0, 1, 2, 70, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
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
        return _fail(
            f"internal error: {type(error).__name__}: {error} (--verbose shows where)",
            INTERNAL_ERROR,
        )
    return OK


def _fail(message: str, code: int) -> int:
    print(f"digits: {message}", file=sys.stderr)
    return code


def _console() -> "Console":
    # Imported where it is needed: the extra `client` does without rich.
    from rich.console import Console

    return Console()


def _run(options: argparse.Namespace) -> None:
    from components.recipes import RECIPES
    from components.sources import locate
    from components.spans import locate_span
    from pipeline.beam_options import beam_pipeline_args, check_beam_options
    from pipeline.config import Gates, PipelineConfig, RunRoot, Span, Tuning
    from pipeline.locks import exclusive

    beam = beam_pipeline_args(options.beam_runner, options.beam_option)
    root = RunRoot(options.root.absolute())
    span = None
    with stderr_to(None, verbose=options.verbose):
        if "{SPAN" in options.data:
            location, number = locate_span(options.data, options.span)
            span = Span(number=number, window=options.window, warm_start=options.warm_start)
        else:
            location = locate(options.data)
            if options.span or options.window > 1:
                raise InputError("--span and --window go with {SPAN} in --data")
    config = PipelineConfig(
        data=location,
        root=root,
        span=span,
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
        tuning=Tuning(trials=options.tune, epochs=options.tune_epochs) if options.tune else None,
        enable_cache=options.cache,
        beam_pipeline_args=beam,
    )
    console = _console()
    with (
        exclusive(root, root.log, "another run is using it; wait, or name another", make_root=True),
        stderr_to(root.log, verbose=options.verbose),
    ):
        with console.status("loading TFX"):
            # With it, tfx.v1 imports the client of Vertex AI, a quarter of the start-up time.
            sys.modules["tfx.v1.extensions"] = ModuleType("tfx.v1.extensions")
            from pipeline.run import Interrupted, run_pipeline

            check_beam_options(beam)
        try:
            run_pipeline(config, console)
        except Interrupted as interrupted:
            raise KeyboardInterrupt from interrupted


def _watch(options: argparse.Namespace) -> None:
    from pipeline.config import RunRoot
    from pipeline.watch import Watcher, run_digits

    data = options.directory
    if "{SPAN" not in data:
        data = str(Path(data) / "span-{SPAN}")
    arguments = ["--data", data, *options.run_options]
    run = _parser().parse_args(["run", *arguments])  # says what is wrong before anything runs
    Watcher(
        data,
        RunRoot(run.root.absolute()),
        lambda span: run_digits([*arguments, "--span", str(span)]),
        poll_seconds=options.poll,
    ).watch()


def _data(options: argparse.Namespace) -> None:
    from pipeline.inspect import show_data

    with stderr_to(None, verbose=options.verbose):
        show_data(options.data, options.out, _console())


def _model(options: argparse.Namespace) -> None:
    from pipeline.inspect import show_model

    with stderr_to(None, verbose=options.verbose):
        show_model(options.recipe, _console())


def _report(options: argparse.Namespace) -> None:
    from pipeline.config import RunRoot
    from pipeline.report.command import report

    with stderr_to(None, verbose=options.verbose):
        report(RunRoot(options.root), options.version, _console(), show=options.open)


#: Options of `digits predict --server`, as `Client` and `Tls` name them.
_CLIENT = ("model", "version", "label", "timeout", "round_robin")
_TLS = ("tls_ca", "tls_cert", "tls_key")


def _predict(options: argparse.Namespace) -> None:
    from serving.prediction import print_predictions

    with stderr_to(None, verbose=options.verbose):
        ask = _predict_locally if options.server is None else _predict_on_server
        predictions = ask(options)
    print_predictions(predictions, as_json=options.json)


def _predict_locally(options: argparse.Namespace) -> "list[Prediction]":
    from pipeline.config import RunRoot
    from serving import predict

    for name in (*_CLIENT, *_TLS):
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} goes with --server ADDRESS")
    root = RunRoot(options.root)
    if options.edge:
        classifier = predict.edge_classifier(predict.latest_version(root.edge))
    else:
        classifier = predict.saved_model_classifier(predict.latest_version(root.serving))
    return predict.predict(options.files, classifier)


def _predict_on_server(options: argparse.Namespace) -> "list[Prediction]":
    from serving.client import Client, Tls
    from serving.client.command import predict_on_server

    tls = Tls(ca=options.tls_ca, cert=options.tls_cert, key=options.tls_key)
    given = {name: value for name in _CLIENT if (value := getattr(options, name)) is not None}
    client = Client(options.server, tls=None if tls == Tls() else tls, **given)
    return predict_on_server(options.files, client)


def _serve(options: argparse.Namespace) -> None:
    from pipeline.config import RunRoot
    from serving.predict import latest_version
    from serving.server import command

    root = RunRoot(options.root)
    litert = options.backend == "litert"
    named = options.model_config_file or options.model_base_path
    if not named and not litert and root.server_config.exists():
        _serve_releases(options, root)
    elif not named:
        options.model_base_path = str(root.edge if litert else root.serving)
        latest_version(Path(options.model_base_path))  # says what to do if there is none
    command.serve(options, litert=litert)


def _serve_releases(options: argparse.Namespace, root: "RunRoot") -> None:
    """Starts from what `digits release` has chosen."""
    from pipeline.release.server_config import base_path_of

    base_path = base_path_of(root.server_config, options.model_name)
    if base_path != str(root.serving.absolute()):
        raise InputError(
            f"{root.server_config}: is for a server that finds {options.model_name} in "
            f"{base_path}; name what to serve: --model_config_file or --model_base_path"
        )
    options.model_config_file = str(root.server_config)
    options.allow_version_labels_for_unavailable_models = True  # nothing is loaded yet


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


def _parity(options: argparse.Namespace) -> None:
    from pipeline.config import RunRoot
    from pipeline.parity import show_parity

    with stderr_to(None, verbose=options.verbose):
        show_parity(
            RunRoot(options.root.absolute()),
            _console(),
            data=options.data,
            count=options.digits,
            addresses=options.server,
            web=options.web,
        )


def _demo(options: argparse.Namespace) -> None:
    from export.web_page import page_files, write_page
    from export.web_server import PageServer, serve_page
    from pipeline.config import RunRoot
    from serving.client import Client
    from serving.predict import latest_version

    with stderr_to(None, verbose=options.verbose):
        files = page_files(latest_version(RunRoot(options.root).edge), server=options.server)
    if options.export:
        write_page(files, options.export)
        return
    client = Client(options.server, timeout=3) if options.server else None
    server = PageServer(files, host=options.host, port=options.port, client=client)
    serve_page(server, open_browser=options.open)


def _bench_edge(options: argparse.Namespace) -> None:
    from pipeline.config import RunRoot
    from serving.predict import latest_version

    root = RunRoot(options.root)
    edge, served = latest_version(root.edge), latest_version(root.serving)
    with stderr_to(None, verbose=options.verbose):
        from export import benchmark

        out = options.out or options.root / "bench-edge"
        benchmark.run(edge, served, out, rounds=options.rounds, calls=options.calls)


def _parser() -> argparse.ArgumentParser:
    from components.recipes import RECIPES
    from pipeline.drift.command import add_drift
    from pipeline.kubeflow.command import add_commands
    from pipeline.release.command import add_release
    from serving.server.command import add_flags, port

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
        "--root", type=Path, default=Path("run"), metavar="DIR", help="run root (default: run)"
    )
    recipe = argparse.ArgumentParser(add_help=False)
    recipe.add_argument(
        "--recipe", choices=RECIPES, default=defaults.RECIPE, help="(default: seed)"
    )

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
    run.add_argument(
        "--tune",
        type=_positive,
        metavar="TRIALS",
        help="search this data's best step size, batch size and augmentation first",
    )
    run.add_argument(
        "--tune-epochs", type=_positive, default=3, metavar="N", help="of a trial (default: 3)"
    )
    run.add_argument("--seed", type=int, default=defaults.SEED, metavar="N", help="(default: 1)")
    run.add_argument(
        "--min-accuracy",
        type=_share,
        default=defaults.MIN_ACCURACY,
        metavar="X",
        help="gate (default: %(default)s)",
    )
    run.add_argument(
        "--min-recall",
        type=_share,
        default=defaults.MIN_RECALL,
        metavar="X",
        help="gate, each digit (default: %(default)s)",
    )
    run.add_argument(
        "--min-edge-accuracy", type=_share, metavar="X", help="gate (default: --min-accuracy)"
    )
    run.add_argument(
        "--max-edge-disagreement",
        type=_share,
        default=defaults.MAX_EDGE_DISAGREEMENT,
        metavar="X",
        help="gate: share of digits that the edge model may label unlike the served model "
        "(default: %(default)s)",
    )
    run.add_argument(
        "--no-cache", dest="cache", action="store_false", help="run unchanged components again"
    )
    spans = run.add_argument_group("with {SPAN} in --data, say 'DIR/span-{SPAN}'")
    spans.add_argument("--span", type=_positive, metavar="N", help="(default: the highest)")
    spans.add_argument(
        "--window",
        type=_positive,
        default=1,
        metavar="N",
        help="train on so many of the newest spans that this run root has read (default: 1)",
    )
    spans.add_argument(
        "--no-warm-start",
        dest="warm_start",
        action="store_false",
        help="do not start from the latest blessed model's weights",
    )
    run.add_argument(
        "--beam-runner",
        default="direct",
        metavar="NAME",
        help="engine of the Beam components: direct, dataflow, flink, prism or spark "
        "(default: direct, this process)",
    )
    run.add_argument(
        "--beam-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of that engine, as Beam names it, say flink_master=host:8081; can be repeated",
    )
    run.set_defaults(command=_run)

    report = commands.add_parser(
        "report",
        parents=[root, common],
        help="draw a run's report again, and show it",
        description="Each run writes its report; this draws it again from its facts.",
    )
    report.add_argument(
        "--version", metavar="V", help="of the run that pushed it (default: the last run)"
    )
    report.add_argument("--open", action="store_true", help="in a browser")
    report.set_defaults(command=_report)

    watch = commands.add_parser(
        "watch",
        parents=[common],
        help="run the pipeline for each span of data that arrives",
        description="Runs `digits run` for the spans that DIR holds and for each that arrives, "
        "in order, one at a time. Ctrl-C ends it; started again, it goes on where it was.",
    )
    watch.add_argument(
        "--poll", type=_positive, default=10, metavar="SECONDS", help="look so often (default: 10)"
    )
    watch.add_argument("directory", metavar="DIR", help="of span-1, span-2, ...; or with {SPAN}")
    watch.add_argument(
        "run_options",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="options of `digits run`, say --window 3 --root DIR",
    )
    watch.set_defaults(command=_watch)

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
    where = predict.add_mutually_exclusive_group()
    where.add_argument("--edge", action="store_true", help="use the edge model")
    where.add_argument(
        "--server", metavar="ADDRESS", help="ask a model server, say grpc://localhost:8500"
    )
    predict.add_argument("--json", action="store_true", help="all probabilities, as JSON")
    server = predict.add_argument_group("with --server")
    server.add_argument("--model", metavar="NAME", help="(default: digits)")
    which = server.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="(default: the server's choice)")
    which.add_argument("--label", metavar="NAME", help="of the version, instead of its number")
    server.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="of a request (default: 10)"
    )
    server.add_argument(
        "--round-robin",
        action="store_const",
        const=True,
        help="spread the requests over all addresses of the name (gRPC)",
    )
    server.add_argument("--tls-ca", metavar="PEM", help="authorities to trust, with grpcs, https")
    server.add_argument("--tls-cert", metavar="PEM", help="our certificate (mutual TLS)")
    server.add_argument("--tls-key", metavar="PEM", help="its key")
    predict.set_defaults(command=_predict)

    verify = commands.add_parser(
        "verify-bundle",
        parents=[common],
        help="check a bundle of edge models: checksums, and what each answers",
        description="Exit codes: 0 sound, 1 damaged or a model answers otherwise, 2 no bundle.",
    )
    verify.add_argument("bundle", type=Path, metavar="BUNDLE", help="the zip, or its directory")
    verify.set_defaults(command=_verify_bundle)

    parity = commands.add_parser(
        "parity",
        parents=[root, common],
        help="compare everything that runs the network, digit by digit",
        description="Exit codes: 0 the contract holds, 1 it is broken, 2 bad input.",
    )
    parity.add_argument(
        "--data", help="take its test split, not the bundle's golden digits; as in `digits run`"
    )
    parity.add_argument("--digits", type=_positive, metavar="N", help="only the first N")
    parity.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="ask a server that runs already, instead of starting `digits serve`; repeatable",
    )
    parity.add_argument("--web", action="store_true", help="run LiteRT.js in headless Chromium too")
    parity.set_defaults(command=_parity)

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

    demo = commands.add_parser(
        "demo",
        parents=[root, common],
        help="a web page that runs the edge model: draw a digit",
    )
    demo.add_argument("--host", default="127.0.0.1", help="to bind (default: 127.0.0.1)")
    demo.add_argument(
        "--port", type=port, default=0, metavar="N", help="(default: any that is free)"
    )
    demo.add_argument("--server", metavar="ADDRESS", help="show this model server's answers too")
    demo.add_argument(
        "--no-open", dest="open", action="store_false", help="do not open a web browser"
    )
    demo.add_argument(
        "--export", type=Path, metavar="DIR", help="write the page for a static web host instead"
    )
    demo.set_defaults(command=_demo)

    bench_edge = commands.add_parser(
        "bench-edge",
        parents=[root, common],
        help="measure the edge model's variants beside TensorFlow and onnxruntime",
    )
    bench_edge.add_argument("--rounds", type=_positive, default=20, metavar="N", help="(20)")
    bench_edge.add_argument(
        "--calls", type=_positive, default=500, metavar="N", help="of each engine a round (500)"
    )
    bench_edge.add_argument("--out", type=Path, metavar="DIR", help="(default: ROOT/bench-edge)")
    bench_edge.set_defaults(command=_bench_edge)

    add_release(commands, [root, common])
    add_drift(commands, [root, common])
    add_commands(commands, common)
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
