"""Keeps the libraries underneath from talking over our own output."""

from __future__ import annotations

import warnings

import datasets
import huggingface_hub
import transformers


def quiet_libraries(downloads: bool) -> None:
    """Errors only, and no progress bars of theirs but, if `downloads`, those of downloads."""
    if not downloads:
        huggingface_hub.utils.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", module=r"torch|transformers|accelerate|peft|datasets")
