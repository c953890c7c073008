"""Words of the records that runs leave on disk."""

from typing import Literal

Status = Literal["done", "pruned", "diverged", "out-of-memory", "failed", "interrupted"]
Completeness = Literal["complete", "partial", "synthetic", "custom"]
