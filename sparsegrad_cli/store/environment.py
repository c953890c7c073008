"""The environment of a run: versions, hardware and the state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .io import redact
from .records import Environment

PACKAGES = [
    "sparsegrad",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "scikit-learn",
    "scipy",
    "safetensors",
    "numpy",
    "optuna",
]


def describe_environment(
    checkpoint: str, data: str, restarts: int, accumulation_steps: int = 1
) -> Environment:
    """Returns the environment of this process, as of now.

    Args:
        checkpoint: identity of the starting weights.
        data: identity of the examples.
        restarts: times the run was resumed.
        accumulation_steps: micro batches of each batch.
    """
    revision, dirty = _git()
    return Environment(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=[Path(sys.argv[0]).name, *map(redact, sys.argv[1:])],
        versions={"python": platform.python_version(), **_versions()},
        hardware=hardware(),
        git_revision=revision,
        git_dirty=dirty,
        checkpoint=checkpoint,
        data=data,
        restarts=restarts,
        accumulation_steps=accumulation_steps,
    )


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # a checkout that is not installed
    return found


def hardware() -> dict[str, str | int]:
    """Returns what the machine of this process is, and how many threads torch uses."""
    described: dict[str, str | int] = {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
        described["gpu_memory_bytes"] = torch.cuda.get_device_properties(0).total_memory
    return described


def _git() -> tuple[str | None, bool | None]:
    """Returns revision and dirtiness of the checkout that holds this package; (None, None) without one."""
    package = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(package), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", str(package / "__init__.py")) is None:
        return None, None
    changes = git("status", "--porcelain", "--", str(package))
    return git("rev-parse", "HEAD"), None if changes is None else bool(changes)
