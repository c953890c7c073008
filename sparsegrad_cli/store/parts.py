"""Moved to `records` and `folder`; here until its users have moved."""

from collections.abc import Sequence
from pathlib import Path

from .find import read_all
from .folder import COUNTS
from .records import CountConfig, CountResult, StoredResult
from .records import PartCounts as Parts

ReadParts = StoredResult[CountConfig, CountResult]


def read_parts(folders: Sequence[Path]) -> tuple[ReadParts, ...]:
    return read_all(COUNTS, folders)


__all__ = ["Parts", "ReadParts", "read_parts"]
