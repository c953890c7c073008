"""Grids: whole tables from a YAML, cell by cell, on the workers of an engine."""
