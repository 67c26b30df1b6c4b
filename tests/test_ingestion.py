"""The files that ExampleGen writes."""

from pathlib import Path

import tensorflow as tf

from components import ingestion
from components.sources import idx, locate, open_source
from components.splits import SPLITS, split_batches


def test_shards_hold_all_digits_in_order(tmp_path: Path, idx_directory: Path, monkeypatch):
    monkeypatch.setattr(idx, "BATCH", 30)
    monkeypatch.setattr(ingestion, "SHARD_DIGITS", 70)
    directories = {split: tmp_path / split for split in SPLITS}
    for directory in directories.values():
        directory.mkdir()
    location = locate(str(idx_directory))
    writer = ingestion._WriteSplits({split: str(path) for split, path in directories.items()})
    for part in ("test", "train"):
        writer.process((location, part))

    expected: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for split, (images, labels) in split_batches(open_source(location)):
        expected[split] += map(ingestion.encode, images, labels.tolist())
    shards = {split: sorted(path.iterdir()) for split, path in directories.items()}
    for split in SPLITS:
        files = tf.data.TFRecordDataset([str(s) for s in shards[split]], compression_type="GZIP")
        assert list(files.as_numpy_iterator()) == expected[split]
    # A shard is closed by the batch that fills it: 200 digits less one in twelve; 17; 100.
    assert [path.name for path in shards["train"]] == [
        f"data_tfrecord-0000{number}.gz" for number in range(3)
    ]
    assert [len(shards[split]) for split in SPLITS] == [3, 1, 2]
