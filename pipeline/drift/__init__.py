"""Whether what is asked still looks like what the model learnt from.

TFDV's drift comparators hold a distance against a fixed bound: how often that gives a false alarm
depends on the number of requests, which nobody chooses. Two-sample tests state the rate.
"""
