"""Moved to `schema`; here until its users have moved."""

from .schema import Gradients, read_gradients

__all__ = ["Gradients", "read_gradients"]
