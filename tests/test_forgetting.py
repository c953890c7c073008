"""How much of an encoder is left after training: `experiments/forgetting.py`."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from sparsegrad_cli.training.run import run
from tests.checkpoints import tiny_checkpoint
from tests.planned import RecordingWatch, plan_run, write_cola

SCRIPT = Path(__file__).resolve().parents[1] / "experiments" / "forgetting.py"


def forgetting(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_an_encoder_that_did_not_move_is_all_left_and_one_that_did_is_not(tmp_path, monkeypatch, capsys):
    model, data = tiny_checkpoint(tmp_path / "model", "bert"), write_cola(tmp_path / "glue")
    short = {"max_steps": 4, "eval_steps": 4, "length": 24, "batch_size": 4}
    asked = dict(model=str(model), task="cola", data=str(data), methods=["ft"], **short)
    for seed in (0, 1):
        for rate in (1e-9, 1e-2):
            planned = plan_run(
                tmp_path / "results",
                RecordingWatch(),
                asked | {"seeds": [seed], "learning_rate": rate},
            )
            assert run(planned).status == "done"
    capsys.readouterr()
    forgetting(monkeypatch, tmp_path / "results", "--data", data)
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    still, moved = sorted(rows, key=lambda row: float(row[2]))
    assert header == ["task", "row", "rate", "seeds", "score", "similarity", "deviation", "agreement"]
    assert still[:4] == ["cola", "ft", "1e-09", "2"]
    assert float(still[5]) == pytest.approx(1, abs=1e-4)
    assert moved[:4] == ["cola", "ft", "0.01", "2"]
    assert float(moved[5]) < 0.99


def test_without_a_saved_model_it_says_what_to_give(tmp_path, monkeypatch, capsys):
    data = write_cola(tmp_path / "glue")
    with pytest.raises(SystemExit) as ended:
        forgetting(monkeypatch, tmp_path, "--data", data)
    assert ended.value.code == 2
    assert "--save model" in capsys.readouterr().err
