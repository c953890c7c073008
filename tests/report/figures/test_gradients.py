"""The figures of a recording: drawn from its arrays, with what they show in numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.report.figures import draw_figures

from ...gradients.recordings import record

NO_RUNS = pd.DataFrame()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(tmp_path / "cache"))


def test_both_figures_of_the_paper_are_drawn_and_read_out(tmp_path):
    shown = record(tmp_path)
    (section,) = draw_figures(NO_RUNS, [tmp_path / "results"], tmp_path / "out")
    assert [figure.path.stem.rpartition("-")[2] for figure in section.figures] == [
        "spaces",
        "energy",
        "rows",
        "nonzeros",
    ]
    assert all(figure.path.read_bytes().startswith(b"\x89PNG") for figure in section.figures)
    last = next(p for p in shown.result.places if (p.step, p.block, p.kind) == (4, 2, "output.dense"))
    told = " ".join(section.notes)
    assert f"{100 * last.energy_rotated:.0f}% in the new one at step 4" in told
    zero = [p.rows - p.live_rows[0] for p in shown.result.places if p.step == 1 and p.kind.startswith("i")]
    assert all(f"{count} in block" in told for count in zero)
    assert "block 2, step 4" in section.figures[0].words


def test_of_a_single_step_there_is_no_course(tmp_path):
    record(tmp_path, steps=1)
    (section,) = draw_figures(NO_RUNS, [tmp_path / "results"], tmp_path / "out")
    assert not any("nonzeros" in figure.path.name for figure in section.figures)
    assert "at step 1." in section.notes[0]


def test_without_its_arrays_a_recording_is_refused(tmp_path):
    shown = record(tmp_path)
    (shown.folder / "arrays.safetensors").unlink()
    with pytest.raises(InputError, match="arrays"):
        draw_figures(NO_RUNS, [tmp_path / "results"], tmp_path / "out")
