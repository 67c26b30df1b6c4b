"""Evaluator: what TFMA measures on the test split, and the gates on it."""

import json
import math
import os
from typing import Any

import tensorflow_model_analysis as tfma

# TFMA 0.52 lists these in __all__ but does not bind them at the top of the package.
from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx import v1 as tfx
from tfx.components.evaluator import executor
from tfx.components.example_gen import utils
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils, proto_utils

import components.metrics
from components.executors import Artifacts, Properties
from components.gates import SPAN_PROPERTY, write_decision
from components.preprocessing import LABEL
from components.sources import CLASSES

#: One-sided 95 % quantile of the normal distribution.
Z_95 = 1.645


def eval_config(
    *, min_accuracy: float, min_recall: float, max_calibration_error: float
) -> config_pb2.EvalConfig:
    """Returns the metrics and gates, computed through the signature that takes examples.

    One gate needs no number: against the latest blessed model, the accuracy may fall only as
    far as sampling noise explains. The change is refused when it lies beyond the one-sided 95 %
    bound for the difference of two accuracies that are equal in truth (on 10,000 digits at 99 %,
    0.24 points; on 500 at 97 %, 2.0).

    Args:
        min_accuracy: floor of the accuracy.
        min_recall: floor of each digit's recall.
        max_calibration_error: bound of the mean distance of confidence from accuracy.
    """
    no_real_loss = config_pb2.MetricThreshold(
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
            absolute={"value": -Z_95 * math.sqrt(2)},
        )
    )
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serve_examples", label_key=LABEL, prediction_key="probabilities"
            )
        ],
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    _custom("Accuracy", _bound(lower_bound=min_accuracy)),
                    _custom("AccuracyInDeviations", no_real_loss),
                    config_pb2.MetricConfig(
                        class_name="MultiClassConfusionMatrixPlot", config='{"thresholds": [0.0]}'
                    ),
                ]
            ),
            config_pb2.MetricsSpec(
                binarize=config_pb2.BinarizationOptions(class_ids={"values": range(CLASSES)}),
                metrics=[
                    _custom("DigitRecall", _bound(lower_bound=min_recall)),
                    _custom("DigitPrecision"),
                ],
            ),
            config_pb2.MetricsSpec(
                binarize=config_pb2.BinarizationOptions(top_k_list={"values": [1]}),
                metrics=[
                    _custom("ExpectedCalibrationError", _bound(upper_bound=max_calibration_error)),
                    config_pb2.MetricConfig(
                        class_name="CalibrationPlot",
                        config=json.dumps({"num_buckets": components.metrics.CALIBRATION_BINS}),
                    ),
                ],
            ),
        ],
    )


def _bound(**bound: float) -> config_pb2.MetricThreshold:
    """Makes a threshold of a `lower_bound` or an `upper_bound`."""
    values = {side: {"value": value} for side, value in bound.items()}
    return config_pb2.MetricThreshold(value_threshold=config_pb2.GenericValueThreshold(**values))


def _custom(
    class_name: str, threshold: config_pb2.MetricThreshold | None = None
) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        class_name=class_name, module=components.metrics.__name__, threshold=threshold
    )


#: Of `eval_config`, and properties of the component.
BOUNDS = ("min_accuracy", "min_recall", "max_calibration_error")


class Executor(executor.Executor):
    """TFX's Evaluator with our gates, which also writes down why it blessed or refused."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties
    ) -> None:
        """Evaluates, decides, and gives the reason."""
        config = eval_config(**{name: exec_properties[name] for name in BOUNDS})
        exec_properties[standard_component_specs.EVAL_CONFIG_KEY] = proto_utils.proto_to_json(
            config
        )
        baseline = input_dict.get(standard_component_specs.BASELINE_MODEL_KEY)
        if baseline and is_empty(baseline[0]):  # which a Resolver's never is
            del input_dict[standard_component_specs.BASELINE_MODEL_KEY]
        super().Do(input_dict, output_dict, exec_properties)
        evaluation, blessing = (
            artifact_utils.get_single_instance(output_dict[key])
            for key in (
                standard_component_specs.EVALUATION_KEY,
                standard_component_specs.BLESSING_KEY,
            )
        )
        (examples,) = input_dict[standard_component_specs.EXAMPLES_KEY]
        blessing.set_int_custom_property(
            SPAN_PROPERTY, examples.get_int_custom_property(utils.SPAN_PROPERTY_NAME)
        )
        refusals = _refusals(evaluation.uri)
        write_decision(blessing, refusals, "all bounds met, no loss of accuracy beyond chance")


class Evaluator(tfx.components.Evaluator):
    """`Evaluator` with the executor above.

    Args:
        min_accuracy: floor of the accuracy.
        min_recall: floor of each digit's recall.
        max_calibration_error: bound of the mean distance of confidence from accuracy.
        options: what TFX's takes, but for the configuration.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        min_accuracy: float,
        min_recall: float,
        max_calibration_error: float,
        **options: Any,
    ):
        super().__init__(eval_config=config_pb2.EvalConfig(), **options)  # which the executor fills
        bounds = (min_accuracy, min_recall, max_calibration_error)
        self.spec.exec_properties.update(zip(BOUNDS, bounds, strict=True))


def is_empty(model: types.Artifact) -> bool:
    """Says whether an artifact holds no model, as `LatestPushedModel` gives it before a push."""
    return not os.path.exists(path_utils.serving_model_path(model.uri))


def _refusals(evaluation: str) -> list[str]:
    """Says in words which gates of an evaluation were not met; empty when all were.

    Args:
        evaluation: the directory of the Evaluator's output.
    """
    result = tfma.load_validation_result(evaluation)
    found = []
    for part in result.metric_validations_per_slice:
        for failure in part.failures:
            key, value = failure.metric_key, failure.metric_value.double_value.value
            name = key.name
            if key.sub_key.HasField("class_id"):
                name += f" of digit {key.sub_key.class_id.value}"
            if key.is_diff:
                found.append(
                    f"accuracy fell by {-value / math.sqrt(2):.2f} standard deviations of sampling "
                    f"noise against the latest blessed model; at most {Z_95} may be chance"
                )
            else:
                bounds = failure.metric_threshold.value_threshold
                side = "above" if bounds.HasField("upper_bound") else "below"
                bound = bounds.upper_bound if side == "above" else bounds.lower_bound
                found.append(f"{name.replace('_', ' ')} {value:.4f} is {side} {bound.value}")
    if not result.validation_ok and not found:
        found.append("nothing was validated: the test split holds no digit")
    return found
