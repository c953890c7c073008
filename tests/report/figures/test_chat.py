"""Figures of chat runs: losses as they are, where the lower is the better one."""

from __future__ import annotations

import pytest

from sparsegrad_cli.report.figures import draw_figures
from sparsegrad_cli.report.figures.costs import COSTS, cost_points
from sparsegrad_cli.report.figures.groups import split_groups
from sparsegrad_cli.report.read import read_runs

from ..chats import write_chat
from ..runs import write_run


def test_losses_are_drawn_in_nats_in_a_group_of_their_own(tmp_path):
    write_run(tmp_path, "ft", 0.5, model="SmolLM2-135M", freeze_rest=True, completeness="custom")
    write_chat(tmp_path, "ft", 2.0)
    write_chat(tmp_path, "sparsegrad", 2.1)
    scored, chat = split_groups(read_runs([tmp_path]))
    assert [panel.column.task for panel in scored.panels] == ["cola"]
    points = cost_points(chat.panels[0], COSTS[0])
    assert {label: point.score.mean for label, point in points.items()} == {
        "ft": pytest.approx(2.0),
        "sparsegrad": pytest.approx(2.1),
    }
    assert chat.panels[0].score_axis == "loss, nats  (lower is better)"


def test_the_selection_loss_is_drawn_by_steps(tmp_path):
    write_chat(tmp_path, "ft", 2.0, selections={75: 2.2, 150: 2.0})
    (section,) = draw_figures(read_runs([tmp_path]), [tmp_path], tmp_path / "figures")
    (figure,) = section.figures
    assert figure.words.startswith("validation loss by steps")
    assert figure.path.read_bytes().startswith(b"\x89PNG")
    assert "threads" in section.caption["data"]
