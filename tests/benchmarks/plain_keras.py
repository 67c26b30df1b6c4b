"""The seed text's plain Keras script, from the raw files to the test accuracy.

    python -m tests.benchmarks.plain_keras DIRECTORY_OF_IDX_FILES

It is what the pipeline is measured against: nothing of ours but the network is in it.
"""

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
from keras import Input, Sequential, layers


def read(directory: str, name: str, offset: int) -> np.ndarray:
    """Reads the bytes behind an IDX header."""
    path = Path(directory, name)
    if not path.exists():
        content = gzip.decompress(Path(f"{path}.gz").read_bytes())
    else:
        content = path.read_bytes()
    return np.frombuffer(content, np.uint8, offset=offset)


directory = sys.argv[1]
train_images = read(directory, "train-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
train_labels = read(directory, "train-labels-idx1-ubyte", 8)
test_images = read(directory, "t10k-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
test_labels = read(directory, "t10k-labels-idx1-ubyte", 8)
train_images = train_images.astype("float32") / 255
test_images = test_images.astype("float32") / 255

model = Sequential(
    [
        Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile("rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
started = time.monotonic()
model.fit(train_images, train_labels, epochs=5, batch_size=64, verbose=0)
seconds = time.monotonic() - started
_, accuracy = model.evaluate(test_images, test_labels, verbose=0)
steps = int(model.optimizer.iterations)
print(json.dumps({"accuracy": accuracy, "training_seconds": seconds, "steps": steps}))
