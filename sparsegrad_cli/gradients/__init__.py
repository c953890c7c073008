"""Recorded gradients: what the MLP gradients of a training look like, in both spaces."""
