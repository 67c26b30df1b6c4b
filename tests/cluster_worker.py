"""Trains on Examples and a Transform graph as the Trainer component does: a worker of a cluster.

python -m tests.cluster_worker EXAMPLES TRANSFORM_GRAPH OUT
"""

import os
import sys
from pathlib import Path

from tfx.components.trainer.fn_args_utils import FnArgs, get_common_fn_args
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.utils import json_utils, proto_utils

from components.recipes import RECIPES
from components.splits import SPLITS
from components.trainer import run_fn


def trainer_arguments(examples: str, transform_graph: str) -> FnArgs:
    """What TFX hands to the trainer, without the directories for its outputs."""
    data = standard_artifacts.Examples()
    data.uri, data.split_names = examples, artifact_utils.encode_split_names(SPLITS)
    graph = standard_artifacts.TransformGraph()
    graph.uri = transform_graph
    train = proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=["train"]))
    validation = proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=["validation"]))
    arguments = get_common_fn_args(
        {
            standard_component_specs.EXAMPLES_KEY: [data],
            standard_component_specs.TRANSFORM_GRAPH_KEY: [graph],
        },
        {
            standard_component_specs.TRAIN_ARGS_KEY: train,
            standard_component_specs.EVAL_ARGS_KEY: validation,
            standard_component_specs.CUSTOM_CONFIG_KEY: json_utils.dumps(
                {"recipe": RECIPES["seed"].to_dict(), "seed": 1}
            ),
        },
    )
    arguments.transform_output = transform_graph
    return arguments


def main(examples: str, transform_graph: str, out: str) -> None:
    """Trains, and writes OUT/Format-Serving and OUT/run if this worker is the chief."""
    arguments = trainer_arguments(examples, transform_graph)
    arguments.serving_model_dir = os.path.join(out, "Format-Serving")
    arguments.model_run_dir = os.path.join(out, "run")
    Path(out).mkdir()
    run_fn(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
