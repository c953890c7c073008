"""Passwords stay out of what is printed."""

import pytest

from sparsegrad_cli.store.redact import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:secret@db:5432/optuna", "postgresql://ada:***@db:5432/optuna"),
        ("at postgresql+psycopg://ada:se@cr:et@db/x now", "at postgresql+psycopg://ada:***@db/x now"),
        ("mysql://h/db?user=ada&password=secret&ssl=1", "mysql://h/db?user=ada&password=***&ssl=1"),
        ("postgresql://db/optuna", "postgresql://db/optuna"),
        ("results/sweeps/journal.log", "results/sweeps/journal.log"),
    ],
)
def test_a_password_is_not_shown(text, shown):
    assert redact(text) == shown
