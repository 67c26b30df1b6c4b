"""ExampleGen: any source of digits as `tf.train.Example` in the splits train, validation, test.

The schema of every example: `image`, 784 raw uint8 bytes of a 28x28 white-on-black digit, row by
row; `label`, int64 0 to 9.
"""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx.components.example_gen import base_example_gen_executor, component
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from components.sources import Location, open_source
from components.splits import SPLITS, split_batches


def encode(image: np.ndarray, label: int) -> bytes:
    """Serialises a digit, uint8 [784], as the pipeline's `tf.train.Example`."""
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    # The order of a map's entries varies from process to process, and with it the shuffling.
    return example.SerializeToString(deterministic=True)


class _ReadSource(beam.DoFn):
    """Reads a source from start to end; one output a split."""

    def process(self, location: Location) -> Iterator[Any]:
        for split, (images, labels) in split_batches(open_source(location)):
            for image, label in zip(images, labels.tolist(), strict=True):
                yield beam.pvalue.TaggedOutput(split, encode(image, label))


class Executor(base_example_gen_executor.BaseExampleGenExecutor):
    """Reads the location that the driver resolved and fingerprinted."""

    def GetInputSourceToExamplePTransform(self) -> beam.PTransform:
        raise NotImplementedError("the splits are made while reading: see GenerateExamplesByBeam")

    def GenerateExamplesByBeam(
        self, pipeline: beam.Pipeline, exec_properties: dict[str, Any]
    ) -> dict[str, beam.pvalue.PCollection]:
        """Returns serialised examples by split."""
        config = example_gen_pb2.Input()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config
        )
        location = Location(
            exec_properties[standard_component_specs.INPUT_BASE_KEY], config.splits[0].pattern
        )
        outputs = (
            pipeline
            | "Location" >> beam.Create([location])
            | "ReadAndSplit" >> beam.ParDo(_ReadSource()).with_outputs(*SPLITS)
        )
        return {split: outputs[split] for split in SPLITS}


class DigitExampleGen(component.FileBasedExampleGen):
    """`FileBasedExampleGen` for digits: its driver resolves spans and fingerprints the files."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, location: Location):
        """Args:
        location: the input base and the pattern of the files below it, as `locate` returns.
        """
        output = example_gen_pb2.Output(
            split_config=example_gen_pb2.SplitConfig(
                splits=[
                    # The executor deals the digits out itself: the buckets are nominal.
                    example_gen_pb2.SplitConfig.Split(name=split, hash_buckets=1)
                    for split in SPLITS
                ]
            )
        )
        super().__init__(
            input_base=location.base,
            input_config=example_gen_pb2.Input(
                splits=[example_gen_pb2.Input.Split(name="all", pattern=location.pattern)]
            ),
            output_config=output,
        )
