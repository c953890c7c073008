"""The client: what it asks again, how long it waits, what ends it, and where the key goes."""

import json
import time
from email.utils import formatdate

import pytest

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.judge import client as module
from sparsegrad_cli.judge.client import Client, Reply, check_endpoint
from sparsegrad_cli.judge.key import Key, read_key

from .server import Said, judge_server, refuses, says

KEY = Key("OPENAI_API_KEY", "sk-Secret/0123")
REQUEST = {"model": "judge", "messages": [{"role": "user", "content": "Rate it."}]}


def ask(*script: Said, key: Key = KEY, **how: float) -> tuple[str | WorkError, list[Reply], list[float]]:
    """What comes of one request; every try; the seconds waited between them."""
    waits: list[float] = []
    replies: list[Reply] = []
    with judge_server(*script) as server:
        client = Client(server.url, key, sleep=waits.append, **how)
        try:
            return client.ask(REQUEST, replies.append), replies, waits
        except WorkError as error:
            return error, replies, waits
        finally:
            assert len(server.asked) == len(replies)
            assert all(asked == REQUEST for asked in server.asked)


@pytest.mark.parametrize(
    "bad",
    [
        refuses(429, "slow down"),
        refuses(500, "oops"),
        Said(503, "<html>busy</html>"),
        Said(200, json.dumps({"choices": [{"message": {"content": "[[3]]"}}]}), cut=True),
        Said(200, "<html>welcome</html>"),
        Said(200, '{"choices": []}'),
        Said(200, "null"),
    ],
    ids=["429", "500", "503", "cut", "no JSON", "no choices", "null"],
)
def test_trouble_that_passes_is_asked_again(bad):
    text, replies, waits = ask(bad, bad, says("[[8]]"))
    assert text == "[[8]]"
    assert [reply.text for reply in replies] == [None, None, "[[8]]"]
    assert all(reply.error for reply in replies[:2])
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2  # by chance, twice as long each time


def test_a_slow_server_is_given_up_and_asked_again():
    text, replies, _ = ask(Said(delay=1.0), says("[[8]]"), timeout=0.2)
    assert text == "[[8]]"
    assert replies[0].status is None
    assert "timeout" in replies[0].error


def test_a_server_says_how_long_to_wait():
    at = formatdate(time.time() + 100, usegmt=True)
    _, _, waits = ask(refuses(429, "wait", Retry_After="7"), refuses(503, "wait", Retry_After=at), says(""))
    assert waits[0] == 7
    assert 95 < waits[1] <= 100


def test_who_asks_to_wait_for_an_hour_ends_it():
    error, replies, waits = ask(refuses(429, "no quota left", Retry_After="3600"))
    assert "no quota left" in str(error)
    assert "asks to wait 3600 s; the same command goes on" in str(error)
    assert (len(replies), waits) == (1, [])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "bad things"),
        (401, "the key in OPENAI_API_KEY"),
        (403, "the key"),
        (404, "--judge-model"),
        (307, "leads"),
    ],
)
def test_what_will_not_change_ends_it_at_once_with_the_servers_words(status, words):
    error, replies, waits = ask(refuses(status, "bad things"))
    assert isinstance(error, WorkError)
    assert f"it answers {status} (bad things)" in str(error)
    assert words in str(error)
    assert (len(replies), waits) == (1, [])


def test_tries_end():
    error, replies, waits = ask(*[refuses(500, "oops")] * 3, retries=2)
    assert "no answer in 3 tries, at last: it answers 500 (oops)" in str(error)
    assert (len(replies), len(waits)) == (3, 2)


def test_a_judge_that_says_nothing_has_said_so():
    assert ask(says(None))[0] == ""


def test_no_key_is_sent_where_there_is_none_and_401_names_the_variable():
    with judge_server(refuses(401, "who are you?")) as server:
        client = Client(server.url, Key("MY_KEY", ""))
        with pytest.raises(WorkError, match=r"who are you\?.*put it in the environment as MY_KEY"):
            client.ask(REQUEST, lambda reply: None)
        assert server.authorizations == [None]


@pytest.mark.parametrize("echo", ["sk-Secret/0123", r"sk-Secret\/0123"])
def test_a_key_that_comes_back_is_shown_nowhere(echo):
    body = f'{{"error": {{"message": "bad header Authorization: Bearer {echo}"}}}}'
    for status in (400, 200):
        with judge_server(*[Said(status, body)] * 2) as server:
            replies: list[Reply] = []
            client = Client(server.url, KEY, retries=1, sleep=lambda seconds: None)
            with pytest.raises(WorkError) as raised:
                client.ask(REQUEST, replies.append)
            assert server.authorizations[0] == f"Bearer {KEY.value}"
        told = f"{raised.value} {raised.value!r} {replies} {KEY!r}"
        assert "Secret" not in told
        assert "Bearer ***" in told


def test_the_endpoint_is_looked_at_before_the_work():
    with judge_server() as server:
        Client(server.url, KEY).check()  # 404 to /models: it is there
        server.models = refuses(401, "no")
        with pytest.raises(WorkError, match="answers 401: it does not take the key in OPENAI_API_KEY"):
            Client(server.url, KEY).check()
        url = server.url
    with pytest.raises(WorkError, match=r"cannot be reached \(ConnectError.*is the server up\?"):
        Client(url, KEY).check()


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://host/v1", "http://", "http://[::1", "host/v1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError, match=r"--endpoint .*http://localhost:8000/v1"):
        check_endpoint(url)


def test_an_address_holds_no_secrets():
    for url in ("https://ada:Secret@host/v1", "https://host/v1?key=Secret", "https://host/v1#Secret"):
        with pytest.raises(InputError, match="a key comes from the environment") as raised:
            check_endpoint(url)
        assert "Secret" not in str(raised.value)
    assert check_endpoint(" https://host/v1/ ") == "https://host/v1"
    assert check_endpoint("https://host/v1/chat/completions") == "https://host/v1"


def test_keys_come_from_the_environment(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert read_key(None).headers == {}
    monkeypatch.setenv("OPENAI_API_KEY", " abc \n")
    assert read_key(None).headers == {"Authorization": "Bearer abc"}
    with pytest.raises(InputError, match="--key-variable OTHER: no such variable"):
        read_key("OTHER")
    for odd in ("a b", "schlüssel", "a\nb"):
        monkeypatch.setenv("OTHER", odd)
        with pytest.raises(InputError, match="OTHER: what it holds is no key") as raised:
            read_key("OTHER")
        assert odd not in str(raised.value)


def test_waits_have_an_end(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_WAIT", 3.0)
    _, _, waits = ask(*[refuses(500, "oops")] * 6, says(""))
    assert max(waits) <= 3
