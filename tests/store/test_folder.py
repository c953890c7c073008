"""A piece of work has one folder: locked, begun, finished, and read again wherever it lies."""

import math
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Literal

import pydantic
import pytest

from sparsegrad_cli.errors import DiskError, InputError, UnreadableResultWarning, WorkError
from sparsegrad_cli.settings import Record, config_id
from sparsegrad_cli.store.environment import describe_environment
from sparsegrad_cli.store.folder import COUNTS, ResultFolder, ResultKind, find_results, read_all
from sparsegrad_cli.store.io import BusyError, is_locked, lock, write_text
from sparsegrad_cli.store.records import CountConfig, CountResult, PartCounts, ResultRecord


class Config(Record):
    kind: Literal["probe"] = "probe"
    size: int
    added_later: int | None = None


class Answer(ResultRecord):
    score: float | None = None


PROBES = ResultKind("probes", Config, Answer, ("kind", "probe"), "probe again", stale=("extra.parquet",))
OTHERS = ResultKind("others", Config, Answer, ("kind", "other"), "try again")
ENVIRONMENT = describe_environment("sha256:abc", "sha256:def", restarts=0)


def folder_of(results: Path, size: int = 1) -> ResultFolder[Config, Answer]:
    return PROBES.folder(results, Config(size=size))


def done(results: Path, size: int = 1, score: float = 0.5) -> ResultFolder[Config, Answer]:
    folder = folder_of(results, size)
    with folder.lock():
        folder.begin(ENVIRONMENT)
        folder.finish(Answer(id=config_id(folder.config), score=score))
    return folder


def test_equal_work_has_one_folder_named_by_its_id(tmp_path: Path) -> None:
    assert folder_of(tmp_path).path == tmp_path / "probes" / config_id(Config(size=1))
    assert folder_of(tmp_path, 2).path != folder_of(tmp_path).path
    assert config_id(Config(size=1)) == config_id(Config(size=1, added_later=None))


def test_finished_work_is_done_and_read_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert folder.result() is None
    assert not folder.is_done()
    assert folder.environment() is None
    done(tmp_path)
    assert folder.is_done()
    (stored,) = read_all(PROBES, [tmp_path])
    assert (stored.folder, stored.config, stored.environment) == (folder.path, folder.config, ENVIRONMENT)
    assert stored.result.score == 0.5


def test_beginning_drops_an_earlier_result_and_what_a_killed_write_left(tmp_path: Path) -> None:
    folder = done(tmp_path)
    for name in ("extra.parquet", ".result.json.0123456789abcdef.tmp"):
        (folder.path / name).write_text("left")
    folder.begin(ENVIRONMENT)
    assert folder.result() is None
    assert sorted(path.name for path in folder.path.iterdir() if path.name != "lock") == [
        "config.json",
        "environment.json",
    ]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with folder.lock():
        assert is_locked(folder.path)
        with pytest.raises(BusyError, match="another process"), folder.lock():
            pass
    assert not is_locked(folder.path)
    assert not is_locked(tmp_path / "nowhere")


def _lock_and_wait(path: Path, locked) -> None:
    with lock(path):
        locked.set()
        signal.pause()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    locked = context.Event()
    process = context.Process(target=_lock_and_wait, args=(tmp_path / "x", locked))
    process.start()
    assert locked.wait(60)
    assert is_locked(tmp_path / "x")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with lock(tmp_path / "x", timeout=10):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = folder_of(tmp_path / "file")
    with pytest.raises(DiskError, match=r"cannot write to .*--output"), folder.lock():
        pass
    with pytest.raises(DiskError, match=r"cannot write to .*--output"):
        folder.write("result.json", Answer(id="x"))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_nothing_is_written_that_cannot_be_read_again(tmp_path: Path, number: float) -> None:
    with pytest.raises(pydantic.ValidationError):
        Answer(id="x", score=number)
    folder = folder_of(tmp_path)
    with pytest.warns(UserWarning, match="serializer"), pytest.raises(WorkError, match="not written"):
        folder.write("config.json", Config(size=1).model_copy(update={"size": number}))
    assert not (folder.path / "config.json").exists()


@pytest.mark.parametrize(
    "damage", ["{", "[]", "{}", '{"id": "x", "score": NaN}', '{"id": "x", "more": 1}', ""]
)
def test_an_unreadable_result_is_named_and_left_out(tmp_path: Path, damage: str) -> None:
    good, bad = done(tmp_path, 1), done(tmp_path, 2)
    (bad.path / "result.json").write_text(damage)
    with pytest.raises(InputError, match=r"result\.json.*probe again"):
        bad.result()
    with pytest.warns(UnreadableResultWarning, match=bad.path.name):
        assert [stored.folder for stored in read_all(PROBES, [tmp_path])] == [good.path]


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
@pytest.mark.parametrize("damage", ["{", "{}", None])
def test_so_is_a_folder_with_another_file_that_cannot_be_read(tmp_path: Path, name: str, damage) -> None:
    good, bad = done(tmp_path, 1), done(tmp_path, 2)
    (bad.path / name).unlink()
    if damage is not None:
        (bad.path / name).write_text(damage)
    with pytest.warns(UnreadableResultWarning, match=rf"{bad.path.name}/{name}"):
        assert [stored.folder for stored in read_all(PROBES, [tmp_path])] == [good.path]


def test_a_folder_that_may_not_be_read_is_left_out(tmp_path: Path, monkeypatch) -> None:
    good, closed = done(tmp_path), tmp_path / "closed"
    closed.mkdir()
    list_folder = os.scandir

    def refuse(folder: Path):
        if folder == closed:
            raise PermissionError(13, "Permission denied")
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UnreadableResultWarning, match="Permission denied"):
        assert [stored.folder for stored in read_all(PROBES, [tmp_path])] == [good.path]
    with pytest.raises(InputError, match="Permission denied"):
        read_all(PROBES, [closed])


def test_files_of_two_configurations_are_not_mixed(tmp_path: Path) -> None:
    one, other = done(tmp_path, 1), done(tmp_path, 2)
    shutil.copy(one.path / "result.json", other.path / "result.json")
    with pytest.raises(InputError, match=f"result of {one.path.name}"):
        other.result()


def test_results_are_found_in_above_and_as_single_folders(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first, second = done(results, 1), done(results, 2)
    unfinished = folder_of(results, 3)
    unfinished.begin(ENVIRONMENT)
    for given in (
        [results],
        [tmp_path],
        [results / "probes"],
        [first.path, second.path],
        [results, first.path],
    ):
        assert {stored.folder for stored in read_all(PROBES, given)} == {first.path, second.path}
        assert len(read_all(PROBES, given)) == 2
    assert len(find_results(PROBES, [results])) == 3
    assert find_results(OTHERS, [results]) == []
    with pytest.raises(InputError, match="no such folder"):
        find_results(PROBES, [tmp_path / "nowhere"])


def test_a_copy_under_another_name_is_read(tmp_path: Path) -> None:
    copy = shutil.copytree(done(tmp_path).path, tmp_path / "kept" / "best")
    (stored,) = read_all(PROBES, [copy])
    assert stored.folder == copy


def test_links_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    folder = done(tmp_path / "here")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "link").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "circle").symlink_to(tmp_path / "here")
    (stored,) = read_all(PROBES, [tmp_path / "there", tmp_path / "here"])
    assert stored.folder.resolve() == folder.path.resolve()


def test_what_lies_inside_a_folder_of_ours_is_not_found(tmp_path: Path) -> None:
    outer = done(tmp_path, 1)
    inner = done(outer.path, 2)
    assert [stored.folder for stored in read_all(PROBES, [tmp_path])] == [outer.path]
    assert [stored.folder for stored in read_all(PROBES, [outer.path / "probes"])] == [inner.path]


def test_a_kind_is_told_by_its_configuration(tmp_path: Path) -> None:
    folder = done(tmp_path)
    assert PROBES.owns(folder.path)
    assert not OTHERS.owns(folder.path)


def test_only_whole_checkpoints_are_resumed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert folder.last_checkpoint() is None
    for step, state in ((9, "{}"), (80, "{}"), (100, '{"half'), (120, None)):
        checkpoint = folder.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        if state is not None:
            write_text(checkpoint / "trainer_state.json", state)
    assert folder.last_checkpoint() == folder.checkpoints / "checkpoint-80"
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["checkpoint-80", "checkpoint-9"]


@pytest.mark.parametrize("keep", [False, True])
def test_checkpoints_stay_only_with_work_that_may_be_resumed(tmp_path: Path, keep: bool) -> None:
    folder = folder_of(tmp_path)
    (folder.checkpoints / "checkpoint-1").mkdir(parents=True)
    folder.begin(ENVIRONMENT)
    folder.finish(Answer(id=folder.path.name), keep_checkpoints=keep)
    assert folder.checkpoints.exists() is keep


def test_counts_have_no_environment(tmp_path: Path) -> None:
    config = CountConfig(model="m", architecture="config:sha256:0")
    folder = COUNTS.folder(tmp_path, config)
    parts = PartCounts(total=4, mlp=1, embeddings=1, attention=1, rest=1)
    folder.write("config.json", config)
    folder.write("result.json", CountResult(id=folder.path.name, parts=parts))
    (stored,) = read_all(COUNTS, [tmp_path])
    assert stored.result.parts == parts
