"""The pipeline's graph."""

from tfx import v1 as tfx
from tfx.dsl.components.base import base_node
from tfx.dsl.placeholder import placeholder
from tfx.types import BaseChannel

from components import preprocessing, span_resolvers, trainer
from components.baseline import LatestPushedModel
from components.data_gate import DataGate
from components.edge_evaluator import EdgeEvaluator
from components.edge_exporter import TFLiteExporter
from components.evaluation import Evaluator
from components.gates import GateDecision
from components.ingestion import DigitExampleGen
from components.pushers import EdgePusher, Pusher
from components.schema import SCHEMA_FILE, CuratedSchema
from components.servability import ServabilityCheck
from components.trainer_component import Trainer
from pipeline.config import PIPELINE_NAME, PipelineConfig


def create_pipeline(config: PipelineConfig) -> tfx.dsl.Pipeline:
    """From raw pixels to a pushed served model and a pushed edge model, each behind its gates."""
    span = config.span
    example_gen = DigitExampleGen(config.data, span.number if span else None).with_id("ExampleGen")
    examples = example_gen.outputs["examples"]
    curated_schema = CuratedSchema(text=SCHEMA_FILE.read_text())
    schema = curated_schema.outputs["schema"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples, schema=schema)
    example_validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema
    )
    data_gate = DataGate(examples=examples, anomalies=example_validator.outputs["anomalies"])
    baseline = _baseline(config, examples)
    window = None
    if span is not None:
        window = tfx.dsl.Resolver(
            strategy_class=span_resolvers.RollingWindow,
            config={"spans": span.window},
            examples=tfx.dsl.Channel(type=examples.type, producer_component_id=example_gen.id),
            blessing=tfx.dsl.Channel(type=GateDecision, producer_component_id=data_gate.id),
        ).with_id("RollingWindow")
        window.add_upstream_node(data_gate)
    # Trained on the window; measured on the newest span, which no earlier model has seen.
    training_examples = window.outputs["examples"] if window else examples

    with tfx.dsl.Cond(_blessed(data_gate.outputs["blessing"])):
        transform = tfx.components.Transform(
            examples=training_examples,
            schema=schema,
            preprocessing_fn=f"{preprocessing.__name__}.preprocessing_fn",
            materialize=False,  # the trainer applies the graph while it reads
            disable_statistics=True,
        )
        training_inputs = {
            "examples": training_examples,
            "transform_graph": transform.outputs["transform_graph"],
            "schema": schema,
            "train_args": tfx.proto.TrainArgs(splits=["train"]),
            "eval_args": tfx.proto.EvalArgs(splits=["validation"]),
        }
        model_tuner = config.tuning and tfx.components.Tuner(
            tuner_fn="components.tuner.tuner_fn",
            custom_config={
                "recipe": config.recipe.with_epochs(config.tuning.epochs).to_dict(),
                "seed": config.seed,
                "trials": config.tuning.trials,
            },
            **training_inputs,
        )
        model_trainer = Trainer(
            run_fn=f"{trainer.__name__}.run_fn",
            base_model=baseline.outputs["model"] if span and span.warm_start else None,
            hyperparameters=model_tuner and model_tuner.outputs["best_hyperparameters"],
            **training_inputs,
            recipe=config.recipe.to_text(),
            epochs=0,
            seed=config.seed,
        )
        model, model_run = model_trainer.outputs["model"], model_trainer.outputs["model_run"]
        evaluator = Evaluator(
            examples=examples,
            model=model,
            baseline_model=baseline.outputs["model"],
            example_splits=["test"],
            min_accuracy=config.gates.min_accuracy,
            min_recall=config.gates.min_recall,
            max_calibration_error=config.gates.max_calibration_error,
        )
        servability = ServabilityCheck(model=model, model_run=model_run)

        with (
            tfx.dsl.Cond(_blessed(evaluator.outputs["blessing"])),
            tfx.dsl.Cond(_blessed(servability.outputs["blessing"])),
        ):
            exporter = TFLiteExporter(
                model=model,
                model_run=model_run,
                examples=examples,
                transform_graph=transform.outputs["transform_graph"],
            )
            edge_evaluator = EdgeEvaluator(
                model=model,
                edge_model=exporter.outputs["edge_model"],
                examples=examples,
                min_accuracy=config.gates.min_edge_accuracy,
                min_recall=config.gates.min_recall,
                max_disagreement=config.gates.max_edge_disagreement,
            )
            with tfx.dsl.Cond(_blessed(edge_evaluator.outputs["blessing"])):
                edge_pusher = EdgePusher(
                    edge_model=exporter.outputs["edge_model"],
                    evaluation=edge_evaluator.outputs["evaluation"],
                    blessing=edge_evaluator.outputs["blessing"],
                    examples=examples,
                    base_directory=str(config.root.edge),
                )
                pusher = Pusher(
                    model=model,
                    model_blessing=evaluator.outputs["blessing"],
                    infra_blessing=servability.outputs["blessing"],
                    pushed_edge_model=edge_pusher.outputs["pushed_model"],
                    base_directory=str(config.root.serving),
                )

    return tfx.dsl.Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=str(config.root.artifacts),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(config.root.metadata)
        ),
        enable_cache=config.enable_cache,
        beam_pipeline_args=config.beam_pipeline_args,
        components=[
            example_gen,
            curated_schema,
            statistics_gen,
            example_validator,
            data_gate,
            baseline,
            *([window] if window else []),
            transform,
            *([model_tuner] if model_tuner else []),
            model_trainer,
            evaluator,
            servability,
            exporter,
            edge_evaluator,
            edge_pusher,
            pusher,
        ],
    )


def _baseline(config: PipelineConfig, examples: BaseChannel) -> base_node.BaseNode:
    """What gives the model that a new one is compared with, as its output `model`."""
    if config.baseline == "pushed":
        return LatestPushedModel(base_directory=str(config.root.serving))
    models = {
        "model": tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        "model_blessing": tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
        "pushed_model": tfx.dsl.Channel(
            type=tfx.types.standard_artifacts.PushedModel, producer_component_id=Pusher.__name__
        ),
    }
    strategy = span_resolvers.LatestBlessed
    if config.span is not None:
        strategy = span_resolvers.LatestBlessedBeforeSpan
        models["examples"] = examples
    return tfx.dsl.Resolver(strategy_class=strategy, **models).with_id("LatestBlessedModel")


def _blessed(blessing: BaseChannel) -> placeholder.Predicate:
    future = blessing.future()
    # With the key that it is born with, the first component that is compiled for Kubeflow would
    # look for it under that key even if it has the channel under a name of its own.
    future.set_key(None)
    return future[0].custom_property("blessed") == 1
