"""The benchmark: what a training step of each method costs, measured side by side."""
