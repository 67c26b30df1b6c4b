"""The graph itself, and that Kubeflow Pipelines gets the same one."""

from pathlib import Path

import pytest
import yaml
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from components.recipes import RECIPES
from components.sources import locate
from pipeline.config import Gates, PipelineConfig, RunRoot
from pipeline.graph import create_pipeline


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("kubeflow") / "pipeline.yaml"
    config = PipelineConfig(
        data=locate("sample"),
        root=RunRoot(Path("/run")),
        recipe=RECIPES["seed"],
        seed=1,
        gates=Gates(
            min_accuracy=0.9, min_recall=0.7, min_edge_accuracy=0.9, max_edge_disagreement=0.01
        ),
        baseline="pushed",
    )
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image="digits", use_pipeline_spec_2_1=True
        ),
        output_filename=str(path),
    )
    runner.run(create_pipeline(config))
    return yaml.safe_load(path.read_text())["root"]["dag"]["tasks"]


def test_kubeflow_gets_every_component(tasks):
    assert set(tasks) >= {
        *("CuratedSchema", "ExampleGen", "StatisticsGen", "ExampleValidator", "DataGate"),
        *("Transform", "Trainer", "Evaluator", "ServabilityCheck"),
        *("TFLiteExporter", "EdgeEvaluator", "EdgePusher", "Pusher"),
    }


@pytest.mark.parametrize(
    ("task", "gates"),
    [
        ("Transform", {"DataGate"}),
        ("Evaluator", {"DataGate"}),
        ("TFLiteExporter", {"DataGate", "Evaluator", "ServabilityCheck"}),
        ("EdgePusher", {"DataGate", "Evaluator", "ServabilityCheck", "EdgeEvaluator"}),
        ("Pusher", {"DataGate", "Evaluator", "ServabilityCheck", "EdgeEvaluator"}),
    ],
)
def test_nothing_runs_before_the_gates_that_it_needs(tasks, task, gates):
    condition = tasks[task]["triggerPolicy"]["condition"]
    assert condition.count("['blessed'] == 1.0") == len(gates)
    for gate in gates:
        assert gate in tasks[task]["dependentTasks"]
