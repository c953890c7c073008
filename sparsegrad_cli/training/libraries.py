"""Keeps the libraries underneath from talking over our own output."""

from __future__ import annotations

import warnings

import datasets
import transformers


def quiet_libraries() -> None:
    """Errors only, and no progress bars of theirs."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", module=r"torch|transformers|accelerate|peft|datasets")
