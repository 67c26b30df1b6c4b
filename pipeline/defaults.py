"""Defaults of a run. Here, because the command line starts without what `pipeline.config` needs."""

DATA = "sample"
RECIPE = "seed"
SEED = 1
MIN_ACCURACY = 0.9
MIN_RECALL = 0.7
MAX_CALIBRATION_ERROR = 0.1
MAX_EDGE_DISAGREEMENT = 0.01
