"""Benchmarks: what a training step of each method costs, what a calibration costs, what our loop adds."""
