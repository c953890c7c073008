"""Bad input as a table: each row ends in one line on stderr with its exit code, and leaves no file behind."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ..checkpoints import tiny_checkpoint
from ..planned import write_cola
from ..tasks.oasst import chain, in_tree, write
from . import files, options, stored
from .case import Case, Inputs

AREAS = {"options": options.CASES, "files": files.CASES, "stored": stored.CASES}
CASES = [pytest.param(case, id=f"{area}: {case.wrong}") for area, cases in AREAS.items() for case in cases]


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("good")
    conversations = [in_tree(chain(f"{i}a", f"{i}b")) for i in range(8)]
    return Inputs(
        bert=tiny_checkpoint(folder / "bert", "bert"),
        llama=tiny_checkpoint(folder / "llama", "llama"),
        glue=write_cola(folder / "glue", train=16, dev=8),
        chats=write(folder / "trees.jsonl", conversations),
    )


@pytest.fixture(autouse=True)
def elsewhere(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, a file with what it holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(
    case: Case, call, inputs: Inputs, tmp_path: Path
) -> None:
    case.write(tmp_path, inputs)
    before = contents(tmp_path)
    good = {name: str(getattr(inputs, name)) for name in ("bert", "llama", "glue", "chats")}
    code, out, err = call(*(word.format(**good) for word in shlex.split(case.command)))
    assert (code, out) == (case.code, ""), err
    assert err.startswith("sparsegrad: "), err
    assert err.count("\n") == 1, err
    assert case.says in err
    assert "Traceback" not in err
    assert contents(tmp_path) == before


def test_the_table_has_a_hundred_rows_and_none_twice() -> None:
    commands = {(case.command, str(case.files)) for cases in AREAS.values() for case in cases}
    assert len(commands) == len(CASES) >= 100
