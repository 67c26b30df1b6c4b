"""The sub-commands `digits compile` and `digits submit`: their options."""

import argparse
from pathlib import Path
from typing import Any

from pipeline import defaults
from pipeline.tfx_extensions import skip_tfx_extensions
from serving.argument_types import path, positive_seconds
from serving.errors import InputError
from serving.quiet import stderr_to

PACKAGE = Path("digits_pipeline.yaml")
IMAGE = "digits:latest"


def add_kubeflow(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the sub-commands.

    Args:
        commands: the sub-parsers.
        parents: `--verbose`.
    """
    compiler = commands.add_parser(
        "compile",
        parents=parents,
        help="make a package for Kubeflow Pipelines",
        description="The defaults of the package's parameters are those of `digits run`.",
    )
    compiler.add_argument(
        "--image", default=IMAGE, help=f"of all containers, best by digest (default: {IMAGE})"
    )
    compiler.add_argument(
        "--data",
        default=defaults.DATA,
        help="of runs that name no other: as for `digits run`, in the containers, or its s3:// "
        f"URI (default: {defaults.DATA})",
    )
    compiler.add_argument("--tune", metavar="TRIALS", help=argparse.SUPPRESS)  # see _compile
    compiler.add_argument(
        "--pipeline-root",
        metavar="URI",
        help="of the artifacts: s3://, minio:// or gs:// (default: the cluster's)",
    )
    compiler.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="CLAIM:/PATH",
        help="persistent volume claim to mount, for data and pushed models",
    )
    compiler.add_argument(
        "--s3-secret",
        metavar="NAME",
        help="secret with accesskey, secretkey and endpoint, for data and pushed models in an "
        "object store (artifacts need none)",
    )
    compiler.add_argument(
        "--models",
        default="/models",
        metavar="DIR",
        help="where pushed models go, if a run says nothing else: on a volume, or s3:// "
        "(default: /models)",
    )
    compiler.add_argument(
        "-o", "--output", type=path, default=PACKAGE, metavar="FILE", help=f"(default: {PACKAGE})"
    )
    compiler.set_defaults(command=_compile)

    submitter = commands.add_parser(
        "submit",
        parents=parents,
        help="run a package on Kubeflow Pipelines",
        description="Exit codes with --wait: 0 both models pushed, 1 the run failed or a gate "
        "refused, 2 bad input, the server cannot be reached or refuses, or time is up.",
    )
    submitter.add_argument(
        "package", nargs="?", type=path, default=PACKAGE, help=f"(default: {PACKAGE})"
    )
    submitter.add_argument("--host", required=True, metavar="URL", help="of Kubeflow Pipelines")
    submitter.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="data, recipe, epochs, seed, gates and destinations; more than once",
    )
    submitter.add_argument("--experiment", default="digits", help="(default: digits)")
    submitter.add_argument("--run-name", metavar="NAME", help="(default: digits and the time)")
    submitter.add_argument("--pipeline-root", metavar="URI", help="(default: the package's)")
    submitter.add_argument("--service-account", metavar="NAME", help="of the pods")
    submitter.add_argument("--namespace", help="yours, where there are many users")
    token = submitter.add_mutually_exclusive_group()
    token.add_argument("--token", help="(default: $DIGITS_KUBEFLOW_TOKEN)")
    token.add_argument("--token-file", type=path, metavar="FILE", help="that holds the token")
    submitter.add_argument("--tls-ca", metavar="PEM", help="authorities to trust")
    submitter.add_argument("--wait", action="store_true", help="until the run is over")
    submitter.add_argument(
        "--timeout", type=positive_seconds, metavar="SECONDS", help="of the wait (default: none)"
    )
    submitter.add_argument(
        "--interval",
        type=positive_seconds,
        default=5.0,
        metavar="SECONDS",
        help="between two looks at the run (default: 5)",
    )
    submitter.set_defaults(command=_submit)


def _compile(options: argparse.Namespace) -> None:
    _require_no_spans(f"--data {options.data}", options.data)
    if options.tune:
        raise InputError(
            "--tune: is not for Kubeflow; search with `digits run --tune`, and give the recipe "
            "that it found, as JSON, to `digits submit --param recipe=...`"
        )
    with stderr_to(None, verbose=options.verbose):
        skip_tfx_extensions()
        from pipeline.kubeflow.compile import (
            Volume,
            compile_pipeline,
            default_config,
            write_package,
        )

        documents = compile_pipeline(
            default_config(options.data),
            image=options.image,
            models=options.models,
            pipeline_root=options.pipeline_root,
            volumes=[Volume.parse(volume) for volume in options.volume],
            s3_secret=options.s3_secret,
        )
        write_package(documents, options.output)
    print(options.output)


def _submit(options: argparse.Namespace) -> None:
    for parameter in options.param:
        if parameter.startswith("data="):
            _require_no_spans(f"--param {parameter}", parameter)
    from rich.console import Console

    with stderr_to(None, verbose=options.verbose):
        from pipeline.kubeflow.submit import Cluster, Wait, read_token, submit

        submit(
            options.package,
            Cluster(
                host=options.host if "://" in options.host else f"https://{options.host}",
                token=read_token(options.token, options.token_file),
                namespace=options.namespace,
                tls_ca=options.tls_ca,
            ),
            Console(),
            parameters=options.param,
            experiment=options.experiment,
            run_name=options.run_name,
            pipeline_root=options.pipeline_root,
            service_account=options.service_account,
            wait=Wait(options.timeout, options.interval) if options.wait else None,
        )


def _require_no_spans(option: str, data: str) -> None:
    # A window of spans and the model before them are found by resolvers, which the open-source
    # backend refuses.
    if "{SPAN" in data:
        raise InputError(
            f"{option}: Kubeflow runs do not follow spans; name one span, say DIR/span-3, or let "
            "`digits watch` train on each that arrives"
        )
