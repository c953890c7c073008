"""Records under their former address, until their users have moved to `config` and `store.records`."""

from ..config import RunConfig
from ..settings import Record
from .names import Completeness, Status
from .records import DataRecord, Environment, Parameters, Result

__all__ = [
    "Completeness",
    "DataRecord",
    "Environment",
    "Parameters",
    "Record",
    "Result",
    "RunConfig",
    "Status",
]
