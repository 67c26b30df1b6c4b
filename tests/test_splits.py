from collections import Counter
from pathlib import Path

import numpy as np

from components.sources import Source, locate, open_source
from components.splits import split_batches


def deal(source: Source) -> dict[str, list[bytes]]:
    dealt: dict[str, list[bytes]] = {}
    for split, (images, labels) in split_batches(source):
        dealt.setdefault(split, []).extend(
            bytes([label]) + image.tobytes()
            for image, label in zip(images, labels.tolist(), strict=True)
        )
    return dealt


def test_sample_is_dealt_out_stratified_and_whole(sample):
    dealt = deal(open_source(locate("sample")))
    counts = {split: Counter(record[0] for record in part) for split, part in dealt.items()}
    assert counts == {
        "train": dict.fromkeys(range(10), 400),
        "validation": dict.fromkeys(range(10), 50),
        "test": dict.fromkeys(range(10), 50),
    }
    everything = [
        bytes([label]) + image.tobytes()
        for image, label in zip(sample[0], sample[1].tolist(), strict=True)
    ]
    assert Counter(r for part in dealt.values() for r in part) == Counter(everything)


def test_dealing_is_deterministic():
    assert deal(open_source(locate("sample"))) == deal(open_source(locate("sample")))


def test_a_given_test_split_is_kept_and_every_thirtieth_of_a_class_validates(idx_directory: Path):
    source = open_source(locate(str(idx_directory)))
    dealt = deal(source)
    given = [(images, labels) for images, labels in source.batches("test")]
    assert len(dealt["test"]) == sum(len(labels) for _, labels in given)
    train = np.concatenate([labels for _, labels in source.batches("train")])
    expected = sum(count // 30 for count in np.bincount(train))
    assert len(dealt["validation"]) == expected
    assert len(dealt["train"]) == len(train) - expected
