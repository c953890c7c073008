"""Where the tests keep their studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from .postgres import postgres

__all__ = ["postgres"]


@pytest.fixture(params=["journal", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage that holds nothing yet, as a user names it."""
    if request.param == "journal":
        return str(tmp_path / "studies" / "journal.log")
    return request.getfixturevalue("postgres").new_database()
