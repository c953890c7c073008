"""A run is named from its configuration, and keeps its name when the configuration gets new keys."""

import pytest

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.settings import names_in_id

from .report.runs import CONFIG


def test_a_younger_key_counts_only_where_it_is_set():
    written_before = CONFIG.model_dump_json(exclude={"sparse_learning_rate", "accumulation_steps"})
    assert RunConfig.model_validate_json(written_before).run_id() == CONFIG.run_id()
    assert CONFIG.model_copy(update={"sparse_learning_rate": 1e-3}).run_id() != CONFIG.run_id()


def test_the_place_of_the_data_does_not_count():
    assert CONFIG.model_copy(update={"data": "elsewhere"}).run_id() == CONFIG.run_id()


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_every_other_key_decides_the_name():
    for name in names_in_id(RunConfig):
        changed = CONFIG.model_copy(update={name: "something else"})
        assert changed.run_id() != CONFIG.run_id(), name
