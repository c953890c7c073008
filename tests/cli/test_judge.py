"""`sparsegrad judge`: what it prints, how it ends, and what it refuses before any work."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ..checkpoints import tiny_checkpoint
from ..judge.questions_file import write_lines, write_questions
from ..judge.server import JudgeServer, Said, judge_server, refuses, says
from ..processes import wait_for
from ..report.runs import write_run

SECRET = "sk-Secret-0123"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("models") / "llama", "llama"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_questions(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def command(model: str, server: JudgeServer) -> list[str]:
    asked = ["judge", "--model", model, "--questions", "questions.jsonl", "--max-new-tokens", "4"]
    asked += ["--device", "cpu", "--endpoint", server.url, "--judge-model", "gpt-4"]
    return [*asked, "--key-variable", "OPENAI_API_KEY"]


def test_a_table_then_the_same_again_without_a_request(call, model):
    with judge_server(
        refuses(429, "slow down", Retry_After="0"), otherwise=lambda r: says("[[6]]")
    ) as server:
        code, out, err = call(*command(model, server))
        assert code == 0, err
        lines = [line.split() for line in out.splitlines()]
        assert ["category", "turn", "1", "turn", "2", "mean"] in lines
        assert ["stem", "6.00", "-", "6.00"] in lines
        assert ["all", "6.00", "6.00", "6.00"] in lines
        assert "judged by gpt-4" in out
        assert "7 ratings from 1 to 10 of 4 questions; prompts: default" in out
        assert "2 turns were judged without the reference" in out
        assert "7 by --max-new-tokens" in out
        assert "answers: 7 of 7" in err
        assert "ratings: 7 of 7" in err
        asked = len(server.asked)
        code, again, _ = call(*command(model, server))
        assert (code, again) == (0, out)
        code, out, err = call(*command(model, server), "--json", "--quiet")
        assert (code, err) == (0, "")
        assert len(server.asked) == asked == 8
    document = json.loads(out)
    assert (document["score"], document["rated"], document["run"]) == (6.0, 7, None)
    assert document["config"]["judge_model"] == "gpt-4"
    assert Path(document["folder"], "exchanges.jsonl").is_file()


def test_a_dry_run_counts_and_does_nothing(call, model, tmp_path):
    with judge_server() as server:
        code, out, _ = call(*command(model, server), "--dry-run")
        assert code == 0
        assert "answers  0 of 7 done, 7 to do on cpu" in out
        assert "ratings  0 of 7 done, 7 to do" in out
        assert not (tmp_path / "results").exists()
        code, _, err = call(*command(model, server), "--category", "math", "--quiet")
        assert (code, err) == (0, "")
        code, out, _ = call(*command(model, server), "--dry-run", "--json")
    document = json.loads(out)
    assert document["answers"] == {"done": 4, "to_do": 3}
    assert document["ratings"] == {"done": 0, "to_do": 7}  # another set of questions, another judgement
    assert document["no_reference"] == 2


def test_answers_alone_need_no_endpoint(call, model):
    arguments = ["judge", "--model", model, "--questions", "questions.jsonl", "--max-new-tokens", "4"]
    code, out, err = call(*arguments, "--answers-only", "--device", "cpu")
    assert code == 0, err
    assert "7 answers of" in out
    code, out, _ = call(*arguments, "--answers-only", "--device", "cpu", "--json")
    document = json.loads(out)
    assert [(a["question_id"], a["turn"]) for a in document["answers"]][:3] == [(1, 1), (1, 2), (2, 1)]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--endpoint", "http://127.0.0.1:9/v1"),
        ("--judge-model", "gpt-4"),
        ("--key-variable", "OPENAI_API_KEY"),
        ("--references", "references.jsonl"),
        ("--prompts", "prompts.jsonl"),
        ("--workers", "4"),
        ("--retries", "0"),
        ("--timeout", "120"),
    ],
)
def test_options_of_the_judge_are_refused_where_none_is_asked(call, model, option, value):
    arguments = ["judge", "--model", model, "--questions", "questions.jsonl", "--answers-only"]
    code, _, err = call(*arguments, option, value)
    assert (code, f"{option}: of no use with --answers-only" in err) == (2, True)


def chat_run(folder: Path, **how: object) -> Path:
    write_run(folder, "sparsegrad", 1.5, task="oasst1", metrics={"loss": 1.5, "perplexity": 4.48}, **how)
    (run,) = (folder / "runs").iterdir()
    return run


def test_the_model_of_a_run_answers(call, tmp_path):
    run = chat_run(tmp_path / "results")
    tiny_checkpoint(run / "model", "llama", seed=1)
    with judge_server() as server:
        arguments = command("", server)
        place = arguments.index("--model")
        arguments[place : place + 2] = ["--run", str(run)]
        code, out, err = call(*arguments, "--json", "--quiet")
    assert code == 0, err
    document = json.loads(out)
    assert (document["run"], document["model"]) == (run.name, "demo")


def test_runs_that_cannot_answer_are_refused(call, tmp_path):
    write_run(tmp_path / "glue", "ft", 0.5)
    (glue,) = (tmp_path / "glue" / "runs").iterdir()
    for run, words in (
        (tmp_path / "nothing", "no run there"),
        (glue, "it is of cola, whose model answers no questions; give one of oasst1"),
        (chat_run(tmp_path / "failed", status="failed"), "it is failed; finish it"),
        (chat_run(tmp_path / "bare"), "it kept no model"),
    ):
        code, _, err = call("judge", "--run", str(run), "--questions", "questions.jsonl", "--answers-only")
        assert code == 2, err
        assert words in err
        assert len(err.splitlines()) == 1


def test_bad_usage_ends_with_2_and_one_line(call, model, tmp_path):
    encoder = str(tiny_checkpoint(tmp_path / "bert", "bert"))
    asked = ["--questions", "questions.jsonl"]
    judge = ["--endpoint", "http://127.0.0.1:9/v1", "--judge-model", "gpt-4"]
    for arguments, words in (
        ([*asked, "--model", model], "--endpoint and --judge-model: say where the judge is"),
        ([*asked, "--model", model, "--endpoint", "http://h/v1"], "--judge-model: say"),
        ([*asked, *judge], "give either --run"),
        ([*asked, *judge, "--model", model, "--run", "x"], "give either --run"),
        ([*asked, *judge, "--model", encoder], "a bert model is an encoder"),
        ([*asked, "--model", model, "--endpoint", "here", "--judge-model", "g"], "not the URL of a server"),
        (["--questions", "no.jsonl", *judge, "--model", model], "--questions no.jsonl: no such file"),
        ([*asked, *judge, "--model", model, "--category", "maths"], "did you mean math"),
        ([*asked, *judge, "--model", model, "--key-variable", "NO_KEY"], "--key-variable NO_KEY: no such"),
        ([*asked, *judge, "--model", model, "--prompts", "questions.jsonl"], "questions.jsonl:1: name:"),
        ([*asked, *judge, "--model", model, "--max-questions", "0"], "--max-questions"),
    ):
        code, _, err = call("judge", *arguments)
        assert code == 2, err
        assert words in err
        assert len(err.splitlines()) == 1


def test_an_endpoint_that_refuses_ends_with_1_its_words_and_no_key(call, model, tmp_path):
    echo = refuses(401, f"no user has the key {SECRET}")
    with judge_server(echo) as server:
        for debug in ([], ["--debug"]):
            server.script = iter([echo])
            code, out, err = call(*command(model, server), *debug)
            assert code == 1
            assert (
                "it answers 401 (no user has the key ***): it does not take the key in OPENAI_API_KEY" in err
            )
            assert SECRET not in out + err
    assert not any(SECRET in path.read_text() for path in tmp_path.rglob("*.json*"))


def test_a_key_in_a_reason_phrase_is_in_no_output_and_no_file(call, model, tmp_path):
    with judge_server(Said(401, "", reason=f"bad key Bearer {SECRET}")) as server:
        code, out, err = call(*command(model, server))
    assert code == 1
    assert "it answers 401 (bad key Bearer ***)" in err
    assert SECRET not in out + err
    assert not any(SECRET in path.read_text() for path in tmp_path.rglob("*.json*"))


def test_the_openai_key_goes_to_no_other_server_unless_it_is_named(call, model):
    with judge_server() as server:
        code, _, err = call(*command(model, server)[:-2], "--quiet")
    assert (code, err) == (0, "")
    assert set(server.authorizations) == set(server.authorizations_of_get) == {None}
    with judge_server() as server:
        code, _, err = call(*command(model, server), "--quiet", "--judge-model", "another")
    assert (code, err) == (0, "")
    assert set(server.authorizations) == set(server.authorizations_of_get) == {f"Bearer {SECRET}"}


def test_no_key_is_sent_unencrypted_to_another_machine(call, model, tmp_path):
    arguments = ["--endpoint", "http://judge.example.org/v1", "--key-variable", "OPENAI_API_KEY"]
    asked = ["judge", "--model", model, "--questions", "questions.jsonl", "--judge-model", "gpt-4"]
    code, _, err = call(*asked, *arguments)
    assert code == 2
    assert "the key in OPENAI_API_KEY would be sent unencrypted; give an https address" in err
    assert SECRET not in err
    assert not (tmp_path / "results").exists()


def test_a_full_disk_ends_with_1_and_one_line_and_the_same_command_goes_on(call, model):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with judge_server() as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # less than all exchanges take
        try:
            code, _, err = call(*command(model, server), "--quiet", "--workers", "1")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert code == 1
        assert "exchanges.jsonl: File too large" in err
        assert len(err.splitlines()) == 1
        goes_on(call, model, server)


def test_brackets_in_a_category_are_shown_as_they_are(call, model):
    categories = ["[math]", "[/math]", "[bold]stem[/bold]"]
    lines = [{"question_id": c, "category": c, "turns": ["What is 1 + 1?"]} for c in categories]
    write_lines(Path("questions.jsonl"), lines)
    with judge_server() as server:
        code, out, err = call(*command(model, server))
    assert code == 0, err
    assert all(category in out for category in categories)


def test_an_unreachable_endpoint_ends_with_1_before_the_answers(call, model, tmp_path):
    with judge_server() as server:
        pass
    code, _, err = call(*command(model, server))
    assert code == 1
    assert "cannot be reached" in err
    assert not (tmp_path / "results").exists()


def test_a_judge_without_one_rating_ends_with_1(call, model):
    with judge_server(otherwise=lambda request: says("I would rather not.")) as server:
        code, out, err = call(*command(model, server))
    assert code == 1
    assert "7 turns have no rating and count for nothing" in out
    assert "gpt-4 gave not one rating" in err


def slowly(request: dict[str, object]) -> Said:
    return replace(says("[[7]]"), delay=0.3)


def goes_on(call, model: str, server: JudgeServer) -> None:
    """The same command asks for what is not kept, and for nothing else."""
    (log,) = Path("results/judge").glob("*/exchanges.jsonl")
    kept = log.read_bytes().count(b"\n")
    assert 2 <= kept < 7
    before = len(server.asked)
    code, out, err = call(*command(model, server))
    assert code == 0, err
    assert len(server.asked) - before == 7 - kept
    assert "7 ratings" in out


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(call, model):
    with judge_server(otherwise=slowly) as server:

        def press() -> None:
            while len(server.asked) < 3:  # two are answered
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=press, daemon=True).start()
        code, _, err = call(*command(model, server), "--workers", "1")
        assert code == 130
        assert "stopped; the same command goes on where this one was" in err
        goes_on(call, model, server)


def test_sigterm_does_not_wait_for_a_slow_judge(call, begin, model):
    hour = replace(says("[[7]]"), delay=3600)
    with judge_server(says("[[7]]"), says("[[7]]"), hour) as server:
        started = begin(*command(model, server), "--workers", "1", "--quiet")
        wait_for(lambda: len(server.asked) >= 3, started.is_alive)  # two are answered
        started.kill(signal.SIGTERM)
        assert started.end()[0] == 130
        goes_on(call, model, server)


def test_after_kill_9_the_same_command_goes_on(call, begin, model):
    with judge_server(otherwise=slowly) as server:
        started = begin(*command(model, server), "--workers", "1", "--quiet")
        wait_for(lambda: len(server.asked) >= 3, started.is_alive)
        started.kill()
        started.end()
        goes_on(call, model, server)
