"""Moved to `records`; here until its users have moved."""

from .records import Completeness, DataRecord, Environment, Parameters, Result, Status

__all__ = ["Completeness", "DataRecord", "Environment", "Parameters", "Result", "Status"]
