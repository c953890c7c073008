"""The words that options take are those that the core knows."""

from sparsegrad_cli import core
from sparsegrad_cli.store import names


def test_forms_and_supports_are_the_cores():
    assert names.FORMS == core.FORMS
    assert names.SUPPORTS == core.SUPPORTS
