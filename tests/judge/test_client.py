"""The client: what it asks again, how long it waits, what ends it, and where the key goes."""

import json
import time
from email.utils import formatdate

import pytest

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.judge.client import LONGEST_WAIT, Client, Key, check_endpoint, read_key
from sparsegrad_cli.judge.records import Reply

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
        Said(200, "[" * 100_000),
    ],
    ids=["429", "500", "503", "cut", "no JSON", "no choices", "null", "deep"],
)
def test_trouble_that_passes_is_asked_again(bad):
    text, replies, waits = ask(bad, bad, says("[[8]]"))
    assert text == "[[8]]"
    assert [reply.text for reply in replies] == [None, None, "[[8]]"]
    assert all(reply.error for reply in replies[:2])
    assert 1 <= waits[0] <= 2 <= waits[1] <= 3  # doubles, and at random by a second


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


@pytest.mark.parametrize("odd", ["inf", "nan", "soon", "Mon, 99 Foo 2026"])
def test_an_odd_retry_after_counts_for_nothing(odd):
    text, _, waits = ask(refuses(429, "wait", Retry_After=odd), says("[[8]]"))
    assert text == "[[8]]"
    assert 1 <= waits[0] <= 2


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan"), 1e12])
def test_a_timeout_that_no_socket_takes_is_refused(timeout):
    with pytest.raises(InputError, match=r"--timeout .* must be above 0"):
        Client("http://127.0.0.1:9/v1", KEY, timeout=timeout)


def test_a_text_that_cannot_be_written_as_utf_8_is_kept_without_what_cannot():
    broken = Said(200, '{"choices": [{"message": {"content": "[[8]] \\ud800"}}]}')
    text, replies, _ = ask(broken)
    assert text == "[[8]] ?"
    assert Reply.model_validate_json(replies[0].model_dump_json()) == replies[0]


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


ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in KEY.value)


@pytest.mark.parametrize(
    "echo", ["sk-Secret/0123", r"sk-Secret\/0123", ESCAPED, ESCAPED.upper().replace("U", "u")]
)
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
        assert not any(written in told for written in ("Secret", ESCAPED, "u0053"))
        assert "Bearer ***" in told


def test_a_key_in_a_reason_phrase_is_shown_nowhere():
    error, replies, _ = ask(Said(401, "", reason=f"bad key Bearer {KEY.value}"))
    assert "it answers 401 (bad key Bearer ***)" in str(error)
    assert "Secret" not in f"{error!r} {replies}"


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


def test_a_key_in_place_of_its_variable_is_not_shown():
    with pytest.raises(InputError, match="give the name, not the key") as raised:
        read_key(OPENAI, KEY.value)
    assert "Secret" not in str(raised.value)


OPENAI = "https://api.openai.com/v1"


def test_keys_come_from_the_environment(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert read_key(OPENAI, None).value == ""
    monkeypatch.setenv("OPENAI_API_KEY", " abc \n")
    assert read_key(OPENAI, None) == Key("OPENAI_API_KEY", "abc")
    with pytest.raises(InputError, match="--key-variable OTHER: no such variable"):
        read_key(OPENAI, "OTHER")
    for odd in ("a b", "schlüssel", "a\nb"):
        monkeypatch.setenv("OTHER", odd)
        with pytest.raises(InputError, match="OTHER: not a key") as raised:
            read_key(OPENAI, "OTHER")
        assert odd not in str(raised.value)


@pytest.mark.parametrize(
    ("endpoint", "is_sent"),
    [
        (OPENAI, True),
        ("https://API.openai.com:443/v1/", True),
        ("http://api.openai.com/v1", False),
        ("https://api.openai.com:8443/v1", False),
        ("https://api.openai.com.example.org/v1", False),
        ("https://eu.api.openai.com/v1", False),
        ("https://example.org/v1", False),
        ("http://localhost:8000/v1", False),
    ],
)
def test_the_openai_key_goes_to_openai_alone_unless_it_is_named(monkeypatch, endpoint, is_sent):
    monkeypatch.setenv("OPENAI_API_KEY", "abc")
    assert read_key(endpoint, None) == (Key("OPENAI_API_KEY", "abc") if is_sent else Key())
    if not endpoint.startswith("http://api"):
        assert read_key(endpoint, "OPENAI_API_KEY").value == "abc"


@pytest.mark.parametrize(
    ("host", "is_safe"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("[::1]", True),
        ("judge.example.org", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("localhost.example.org", False),
    ],
)
def test_no_key_leaves_this_machine_unencrypted(monkeypatch, host, is_safe):
    monkeypatch.setenv("MY_KEY", "abc")
    assert read_key(f"https://{host}/v1", "MY_KEY").value == "abc"
    if is_safe:
        assert read_key(f"http://{host}:8000/v1", "MY_KEY").value == "abc"
    else:
        with pytest.raises(InputError, match="the key in MY_KEY would be sent unencrypted; give an https"):
            read_key(f"http://{host}:8000/v1", "MY_KEY")


def test_a_proxy_sees_no_key_of_this_machines_servers(monkeypatch):
    with judge_server() as proxy, judge_server() as server:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        Client(server.url, KEY).ask(REQUEST, lambda reply: None)
        assert server.authorizations == [f"Bearer {KEY.value}"]
        assert proxy.asked == []


def test_who_gets_no_key_and_wants_one_says_how_to_give_it():
    error, _, _ = ask(refuses(401, "who are you?"), key=Key())
    assert "name the environment variable that holds it with --key-variable" in str(error)


def test_control_characters_of_an_endpoint_do_not_reach_the_terminal():
    error, _, _ = ask(refuses(400, "red\x1b[31m\x07 alarm"))
    assert "it answers 400 (red [31m alarm)" in str(error)


def test_waits_have_an_end():
    _, _, waits = ask(*[refuses(500, "oops")] * 9, says(""), retries=9)
    assert max(waits) == LONGEST_WAIT
