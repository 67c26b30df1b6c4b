"""ExampleGen: any source of digits as `tf.train.Example` in the splits train, validation, test.

The schema of every example: `image`, 784 raw uint8 bytes of a 28x28 white-on-black digit, row by
row; `label`, int64 0 to 9.
"""

import contextlib
import os

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx.components.example_gen import component, write_split
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.executors import Artifacts, Properties
from components.object_store import local_copy
from components.sources import Location, locate, open_source
from components.splits import SPLITS, split_part

#: A shard is written once it has this many digits or more.
SHARD_DIGITS = 10_000


def encode(image: np.ndarray, label: int) -> bytes:
    """Serialises a digit, uint8 [784], as the pipeline's `tf.train.Example`."""
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    # The order of a map's entries varies from process to process, and with it the shuffling.
    return example.SerializeToString(deterministic=True)


class _WriteSplits(beam.DoFn):
    """Reads one part of a source and writes its splits, digit by digit.

    An element names digits and holds none: what passes between two steps, Beam's direct runner
    keeps in memory, all of it.

    Args:
        directories: of the splits.
    """

    def __init__(self, directories: dict[str, str]):
        self._directories = directories

    def process(self, element: tuple[Location, str]) -> None:
        location, part = element
        with contextlib.ExitStack() as stack:
            shards: dict[str, _Shards] = {}
            for split, (images, labels) in split_part(open_source(location), part):
                if split not in shards:
                    shards[split] = stack.enter_context(_Shards(self._directories[split]))
                shards[split].write(images, labels)


class _Shards:
    """Writes digits to one file after another.

    Args:
        directory: of the files.
    """

    def __init__(self, directory: str):
        self._directory = directory
        self._number = 0
        self._digits = 0
        self._writer: tf.io.TFRecordWriter | None = None

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, images: np.ndarray, labels: np.ndarray) -> None:
        if self._writer is None:
            name = f"{write_split.DEFAULT_TF_RECORD_FILE_NAME}-{self._number:05d}.gz"
            options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
            self._writer = tf.io.TFRecordWriter(os.path.join(self._directory, name), options)
        for image, label in zip(images, labels.tolist(), strict=True):
            self._writer.write(encode(image, label))
        self._digits += len(labels)
        if self._digits >= SHARD_DIGITS:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer, self._digits = None, 0
            self._number += 1


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the location that the driver resolved and fingerprinted."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties
    ) -> None:
        """Writes the splits as gzipped TFRecords of `tf.train.Example`."""
        config = example_gen_pb2.Input()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config
        )
        base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        pattern = config.splits[0].pattern
        (examples,) = output_dict[standard_component_specs.EXAMPLES_KEY]
        examples.split_names = artifact_utils.encode_split_names(SPLITS)
        directories = {split: artifact_utils.get_split_uri([examples], split) for split in SPLITS}
        for directory in directories.values():
            fileio.makedirs(directory)
        with local_copy(base) as copy, self._make_beam_pipeline() as pipeline:
            # Where the run itself is told what the data is, its kind is not known before.
            location = Location(base, pattern) if pattern else locate(copy)
            parts = [(location, part) for part in open_source(location).parts]
            _ = (
                pipeline
                | "Parts" >> beam.Create(parts)
                | "Spread" >> beam.Reshuffle()
                | "WriteSplits" >> beam.ParDo(_WriteSplits(directories))
            )


class DigitExampleGen(component.FileBasedExampleGen):
    """`FileBasedExampleGen` for digits: its driver resolves spans and fingerprints the files."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, location: Location, span: int | None = None):
        """Args:
        location: the input base and the pattern of the files below it, as `locate` returns;
            with an empty pattern, what `locate` takes, which the executor then asks.
        span: number of the span that stands for {SPAN} in the pattern.
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
            range_config=None
            if span is None
            else range_config_pb2.RangeConfig(
                static_range=range_config_pb2.StaticRange(
                    start_span_number=span, end_span_number=span
                )
            ),
        )
