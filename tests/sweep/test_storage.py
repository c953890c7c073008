"""Studies that several processes share, in a journal file and in a real PostgreSQL."""

from __future__ import annotations

import resource
import signal
from collections import Counter
from importlib.util import find_spec
from itertools import count
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Thread
from unittest import mock

import pytest
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.sweep import storage
from sparsegrad_cli.sweep.space import STARTUP_TRIALS
from sparsegrad_cli.sweep.storage import RETRIES, JournalLock, open_storage
from sparsegrad_cli.sweep.study import (
    budget,
    is_settled,
    load_studies,
    needs_trial,
    release_dead,
    sign,
    study_names,
    study_result,
    top_up,
)

from . import hands
from .hands import CONFIG, given_trials, in_processes, study_in, until

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")

SECRET = "sesame4711"


def trials_of(study: Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(states=states or None)


def params_of(study: Study) -> list[dict[str, object]]:
    return [trial.params for trial in study_result(study).trials]


def test_several_processes_do_what_is_asked_and_later_only_what_is_added(where, tmp_path):
    study = study_in(where)
    done = 0
    for asked in (5, 8):
        assert in_processes(hands.work, where, tmp_path / "given", asked, count=3) == [0, 0, 0]
        done = max(done, asked)
        result = study_result(study)
        assert done <= result.count("complete") == len(result.trials) <= asked + 2
        done = result.finished
        assert budget(study) == result.asked == asked
        assert is_settled(study)
        assert not needs_trial(study)
    numbers = Counter(given_trials(tmp_path / "given"))
    assert set(numbers.values()) == {1}, "two processes were given the same trial"
    assert set(numbers) == {trial.number for trial in trials_of(study)}


def test_one_process_does_as_many_trials_as_are_asked(tmp_path):
    where = str(tmp_path / "studies" / "journal.log")
    assert in_processes(hands.ask, where, 6, count=4) == [0] * 4
    assert in_processes(hands.work, where, tmp_path / "given") == [0]
    assert len(trials_of(study_in(where), TrialState.COMPLETE)) == 6


def test_a_study_that_several_processes_make_at_once_is_one_study(where):
    assert in_processes(hands.begin, where, count=4) == [0] * 4
    assert study_names(open_storage(where, Path("unused"))) == [CONFIG.study_name()]


def test_the_first_values_do_not_depend_on_the_number_of_processes(where, tmp_path):
    assert in_processes(hands.work, where, tmp_path / "three", STARTUP_TRIALS + 1, count=3) == [0] * 3
    alone = str(tmp_path / "alone.log")
    assert in_processes(hands.work, alone, tmp_path / "one", STARTUP_TRIALS) == [0]
    together = params_of(study_in(where))
    assert together[:STARTUP_TRIALS] == params_of(study_in(alone))
    assert len({tuple(params.values()) for params in together}) == len(together)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of whose heartbeats none came for a second is dead to us."""
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 1)


def find_dead(study: Study) -> None:
    """Waits until no trial runs any more, all workers being dead."""

    def is_found() -> bool:
        release_dead(study)
        return not trials_of(study, TrialState.RUNNING)

    until(is_found)


@pytest.mark.usefixtures("impatient")
def test_a_trial_whose_worker_was_killed_is_tried_again_with_its_values_and_given_up_in_the_end(
    where, tmp_path
):
    study = study_in(where)
    top_up(study, 1)
    for _ in range(RETRIES + 1):
        assert not is_settled(study)
        assert in_processes(hands.die, where, True) == [-signal.SIGKILL]
        assert len(trials_of(study, TrialState.RUNNING)) == 1
        find_dead(study)
    assert is_settled(study)
    (trial,) = study_result(study).trials
    assert (trial.state, trial.reason) == ("failed", f"its worker died {RETRIES + 1} times")
    assert trial.attempts == RETRIES + 1
    assert set(trial.params) == set(hands.SPACE)
    assert [tried.params for tried in trials_of(study)] == [trial.params] * (RETRIES + 1)

    top_up(study, 1)
    assert in_processes(hands.work, where, tmp_path / "given") == [0]
    (again,) = study_result(study).trials
    assert (again.state, again.params) == ("complete", trial.params)


def test_a_trial_whose_worker_died_before_it_signed_does_not_count(where, tmp_path):
    study = study_in(where)
    top_up(study, 1)
    assert in_processes(hands.die, where, False) == [-signal.SIGKILL]
    assert in_processes(hands.work, where, tmp_path / "given") == [0]
    assert study_result(study).count("complete") == len(study_result(study).trials) == 1


def test_the_trial_of_a_worker_that_lives_is_left_alone(where):
    study = study_in(where)
    top_up(study, 1)
    with storage.registered(study._storage, "me"):
        sign(study.ask(), "me")
        release_dead(study_in(where))
    assert [trial.state for trial in trials_of(study)] == [TrialState.RUNNING]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with a study of which two trials are done and one is not."""
    path = tmp_path / "journal.log"
    study = study_in(str(path))
    top_up(study, 3)
    for score in (0.25, 0.75, None):
        trial = study.ask()
        sign(trial, "me")
        if score is not None:
            study.tell(trial, score)
    return path


def scores_in(journal: Path) -> list[float | None]:
    return [trial.value for trial in trials_of(study_in(str(journal)))]


CUT_SHORT = [
    b"{",
    b'{"op_code":6,"worker_id":"a-1","tri',
    b'{"op_code":4,"datetime_start":"\xc3',
    b"\x00" * 9,
]


@pytest.mark.parametrize("rest", CUT_SHORT)
def test_a_journal_whose_last_line_was_cut_short_is_read_and_written_again(journal, rest):
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(rest)
    assert scores_in(journal) == [0.25, 0.75, None]
    study = study_in(str(journal))
    study.tell(2, 0.5)
    assert scores_in(journal) == [0.25, 0.75, 0.5]
    assert journal.read_bytes().startswith(whole)


@pytest.mark.parametrize("rest", CUT_SHORT)
def test_a_line_that_is_cut_short_does_no_harm_to_those_who_have_the_journal_open(journal, rest):
    writer, reader = study_in(str(journal)), study_in(str(journal))
    with journal.open("ab") as file:
        file.write(rest)
    assert [trial.value for trial in trials_of(reader)] == [0.25, 0.75, None]
    writer.tell(2, 0.5)
    for study in (writer, reader, study_in(str(journal))):
        assert [trial.value for trial in trials_of(study)] == [0.25, 0.75, 0.5]


def write_without_space(barrier: Barrier, journal: str) -> None:
    study = study_in(journal)
    barrier.wait()
    room = Path(journal).stat().st_size + 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(OSError, match="too large"):
        study.set_user_attr("text", "a" * 100)


def test_a_disk_that_is_full_costs_a_journal_only_what_did_not_fit(journal):
    study = study_in(str(journal))
    assert in_processes(write_without_space, str(journal)) == [0]
    assert not journal.read_bytes().endswith(b"\n")
    study.tell(2, 0.5)
    assert scores_in(journal) == [0.25, 0.75, 0.5]
    assert "text" not in study_in(str(journal)).user_attrs


def test_a_process_that_was_stopped_in_the_middle_of_a_write_is_waited_for(journal, monkeypatch):
    """However long that is: it would go on writing beside another."""
    monkeypatch.setattr("time.monotonic", count(step=60.0).__next__)
    holder, other = (JournalLock(str(journal)) for _ in range(2))
    holder.acquire()
    waiting = Thread(target=other.acquire, daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    holder.release()
    waiting.join()
    other.release()


def test_a_journal_with_a_relative_path_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = study_in("studies/journal.log")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    top_up(study, 2)
    with storage.registered(study._storage, "me"):
        sign(study.ask(), "me")
    assert len(trials_of(study_in("../studies/journal.log"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "studies"]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_journal_is_read_where_nothing_can_be_written(journal):
    """A folder that others may not write to, or a read-only file system."""
    with journal.open("ab") as file:
        file.write(CUT_SHORT[1])
    before = journal.read_bytes()
    with mock.patch("fcntl.flock", side_effect=PermissionError):
        opened = open_storage(str(journal), Path("unused"), read_only=True)
        (study,) = load_studies(opened)
        assert study_result(study).count("complete") == 2
    assert journal.read_bytes() == before
    assert list(journal.parent.iterdir()) == [journal]


def refusal(where: str) -> str:
    with pytest.raises(InputError) as error:
        open_storage(where, Path("unused"))
    message = str(error.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


@pytest.mark.parametrize(
    "content",
    [
        b"SQLite format 3\x00\x10\x00\x01\n\x01\x00@  \x00",
        b"a line\n",
        b"a line\nand half",
        b'{"a": 1}\n',
        b"[]",
        b"{}\n",
        b"\n",
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "important"
    path.write_bytes(content)
    assert refusal(str(path)).startswith(f"--storage {path}: not a journal of Optuna's")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_journal_with_a_line_that_is_none_is_refused(journal):
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"nonsense\n", *lines[2:]]))
    assert "not a journal of Optuna's" in refusal(str(journal))


def test_a_folder_in_the_place_of_the_journal_is_refused(tmp_path):
    assert refusal(str(tmp_path)) == f"--storage {tmp_path}: cannot be written (Is a directory)"


def test_a_journal_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal(str(tmp_path / "file" / "journal.log"))


@pytest.mark.parametrize(
    "url",
    [
        "foo://user:{}@host/base",
        "foo+bar://user:{}@host/base",
        "postgresql+nodriver://user:{}@host/base",
        "postgresql://user:{}@127.0.0.1:port/base",
        "://user:{}@host/base",
    ],
)
def test_a_url_of_no_database_is_refused_without_its_password(url):
    assert "user:***@" in refusal(url.format(SECRET))


@pytest.mark.parametrize("secret", [SECRET, f"{{{SECRET}}}", f"%7B{SECRET}", f"{SECRET}/{SECRET}"])
def test_a_server_that_is_not_there_is_refused_without_its_password(secret):
    message = refusal(f"postgresql://user:{secret}@127.0.0.1:1/base")
    assert message.startswith("--storage postgresql://user:***@127.0.0.1:1/base: ")
    if find_spec("psycopg"):
        assert "127.0.0.1" in message.partition("/base: ")[2]


def test_what_a_server_does_not_allow_is_refused_without_the_password(postgres):
    postgres.execute(f"CREATE ROLE guest LOGIN PASSWORD '{SECRET}'")
    owned = postgres.new_database().rpartition("/")[2]
    postgres.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", owned)
    denied = refusal(postgres.url(owned, "guest", SECRET))
    assert "permission denied" in denied
    assert "CREATE TABLE" not in denied
    assert "authentication failed" in refusal(postgres.url(owned, "nobody", SECRET))
    assert '"nowhere" does not exist' in refusal(postgres.url("nowhere", "guest", SECRET))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_each_way_to_write_the_url_of_a_server_leads_there(postgres, scheme):
    url = postgres.new_database().replace("postgresql", scheme)
    assert study_names(open_storage(url, Path("unused"))) == []


@pytest.mark.parametrize(
    ("installed", "taken"),
    [
        ({"psycopg", "psycopg2"}, "postgresql+psycopg://"),
        ({"psycopg2"}, "postgresql+psycopg2://"),
        (set(), "postgresql+psycopg://"),
    ],
)
def test_the_driver_is_one_that_is_installed(monkeypatch, installed, taken):
    monkeypatch.setattr(storage, "find_spec", lambda name: name if name in installed else None)
    opened: list[str] = []
    monkeypatch.setattr(storage, "Database", opened.append)
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg", "mysql"):
        open_storage(f"{scheme}://user@host/base", Path("unused"))
    rest = "user@host/base"
    assert opened == [taken + rest, taken + rest, f"postgresql+asyncpg://{rest}", f"mysql://{rest}"]
