"""What a recording leaves on disk: every key of its files, typed.

A recording is a folder `gradients/<id>/`, where `<id>` is the hash of its configuration. It holds

    config.json          GradientsConfig
    environment.json     store.records.Environment
    arrays.safetensors   what a figure draws, at the first and the last recorded step; see below
    result.json          GradientsResult; written last, and atomically

Arrays are named `<step>/<block>/<kind>/<what>`, with `G` the gradient of a weight (`O x I`) and `G~` the same
in the basis:

    original, rotated    64 x 64 at most: root mean square of the entries of G, of G~, in each cell
    corner               64 x 64 at most: magnitudes of the leading entries of G~
    curve                3 x points: share of the entries; of the energy in as many of the largest of G; of G~
    rows                 examples x tokens: Euclidean norms of the rows of dL/dY

and `<step>/tokens`, examples x tokens: 1 for a token, 0 for padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..config import SETTINGS, RunConfig
from ..errors import DiskError, InputError
from ..settings import Record, setting, settings_of
from ..store.folder import ResultKind, read_all
from ..store.io import write_atomically
from ..store.records import ResultRecord, StoredResult

THRESHOLDS = (0.0, 1e-3, 1e-2)  # of the largest magnitude of a matrix, or norm of a row


class RecordingSettings(Record):
    """Settings of a recording, besides those of its training."""

    steps: int = setting("Steps of the training.", off=100, at_least=1)
    every: int = setting("Steps between those that are recorded.", off=10, at_least=1)


_OF_RUN = (
    "device",
    "length",
    "padding",
    "batch_size",
    "learning_rate",
    "calibration_steps",
    "density",
    "kept",
)
GRADIENTS_SETTINGS = {**{name: SETTINGS[name] for name in _OF_RUN}, **settings_of(RecordingSettings)}


class GradientsConfig(Record):
    """Everything that was asked for."""

    kind: Literal["gradients"] = "gradients"
    run: RunConfig  # the training that is looked at; it ends after `max_steps`
    calibration_steps: int  # batches that make the basis, whatever the method
    every: int  # steps between those that are recorded, besides the first and the last

    def recorded_steps(self) -> list[int]:
        """Counted from 1: the gradients of step 1 are those of the starting weights."""
        last = self.run.max_steps
        assert last is not None
        return sorted({1, last, *range(self.every, last, self.every)})


class Counts(Record):
    """How many of a matrix's entries are not small."""

    entries: int
    above: tuple[int, ...]  # for each of THRESHOLDS, those whose magnitude is above it

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(count / self.entries for count in self.above)


class Place(Record):
    """The gradients of one MLP linear at one training step."""

    block: int
    kind: str
    step: int
    shape: tuple[int, int]  # O x I
    rows: int  # of dL/dY: tokens of the batch, padding included
    padding: int  # of them
    live_rows: tuple[int, ...]  # for each of THRESHOLDS, rows whose norm is above it
    output: Counts  # dL/dY, rows x O
    output_rotated: Counts  # dL/dY V
    weight: Counts  # G
    weight_rotated: Counts  # G~
    energy_original: float  # share of the energy of G in its largest 1% of entries
    energy_rotated: float  # of G~


class GradientsResult(ResultRecord):
    """`result.json`."""

    losses: dict[int, float]  # at each recorded step
    places: tuple[Place, ...]


REMEDY = "delete the folder to record again"
GRADIENTS = ResultKind("gradients", GradientsConfig, GradientsResult, ("kind", "gradients"), REMEDY)
Gradients = StoredResult[GradientsConfig, GradientsResult]
ARRAYS = "arrays.safetensors"


def read_gradients(folders: Sequence[Path]) -> tuple[Gradients, ...]:
    """Returns every finished recording in the folders; see `find_results`."""
    return read_all(GRADIENTS, folders)


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays of a recording.

    Raises:
        DiskError: the file cannot be written.
    """
    try:
        write_atomically(folder / ARRAYS, lambda temporary: save_file(dict(arrays), temporary))
    except (OSError, SafetensorError) as error:
        raise DiskError(f"cannot write to {folder} ({error}); see --output") from None


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a recording; their names and shapes stand at the head of this file.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return load_file(folder / ARRAYS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / ARRAYS}: cannot be read ({error}); {REMEDY}") from None
