"""Optuna over a run's hyperparameters: studies that many processes and machines may share."""
