"""Asks an OpenAI-compatible endpoint, and asks again where that may help."""

from __future__ import annotations

import email.utils
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event

import httpx2

from ..errors import InputError, WorkError
from ..store.redact import redact
from .key import Key

AGAIN = (408, 409, 429)  # HTTP status codes that, as all from 500 on, may be another the next time
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds between tries, doubled each time
PATIENCE = 600.0  # seconds that an endpoint may ask us to wait
SHOWN = 300  # characters of an endpoint's words in a message
GOES_ON = "the same command goes on from here"


class StoppedError(WorkError):
    """Another request has ended the work."""


@dataclass(frozen=True)
class Reply:
    """What came of one try."""

    status: int | None  # None: no whole answer
    body: str
    text: str | None  # the judge's; "" where it said nothing; None: the reply holds no answer
    error: str | None  # one line
    retry_after: float | None  # seconds that the endpoint asks for
    seconds: float


class Client:
    """One judge at one endpoint; may be used from several threads.

    Args:
        endpoint: base URL, such as http://localhost:8000/v1.
        key: sent as a bearer token; it is in no reply and no message.
        retries: tries after the first, of one request.
        timeout: seconds without a byte.
        sleep: waits so many seconds; None: until `stop` is set, at most.

    Raises:
        InputError: `endpoint` is no such URL.
    """

    def __init__(
        self,
        endpoint: str,
        key: Key,
        retries: int = 6,
        timeout: float = 120.0,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.endpoint, self.key, self.retries = check_endpoint(endpoint), key, retries
        self.stop = Event()
        self._sleep = sleep or self.stop.wait
        self._http = httpx2.Client(timeout=timeout, headers=key.headers)
        self._jitter = random.Random()

    def check(self) -> None:
        """Finds out whether anything answers there, and takes the key, before hours of work.

        Raises:
            WorkError: not so.
        """
        try:
            status = self._http.get(f"{self.endpoint}/models").status_code
        except httpx2.HTTPError as error:
            raise WorkError(
                f"--endpoint {self.endpoint} cannot be reached ({self._words_of(error)}): is the server up?"
            ) from None
        if status == 401:  # other answers say nothing: not every server lists its models
            raise WorkError(f"--endpoint {self.endpoint} answers 401: {self._about_key()}")

    def ask(self, request: Mapping[str, object], keep: Callable[[Reply], None]) -> str:
        """The judge's text; `keep` is told of every try.

        Args:
            request: the JSON document of `/chat/completions`.

        Raises:
            WorkError: the endpoint refuses it, or has not answered after all retries.
            StoppedError: `stop` was set while it waited.
        """
        for tried in range(1, self.retries + 2):
            reply = self._post(request)
            keep(reply)
            if reply.text is not None:
                return reply.text
            if not _may_change(reply):
                raise WorkError(f"--endpoint {self.endpoint}: {reply.error}{self._hint(reply.status)}")
            if tried <= self.retries:
                self._wait(tried, reply)
        raise WorkError(
            f"--endpoint {self.endpoint}: no answer in {tried} tries, at last: {reply.error}; {GOES_ON}"
        )

    def _post(self, request: Mapping[str, object]) -> Reply:
        began = time.monotonic()
        try:
            response = self._http.post(f"{self.endpoint}/chat/completions", json=request)
        except httpx2.HTTPError as error:
            words = self._words_of(error)
            return Reply(None, "", None, words, None, time.monotonic() - began)
        seconds = time.monotonic() - began
        body = self.key.hide(response.text)
        after = _seconds_asked(response.headers.get("retry-after"))
        if response.status_code != 200:
            words = f"it answers {response.status_code} ({_said(body) or response.reason_phrase})"
            return Reply(response.status_code, body, None, words, after, seconds)
        text = _content(response.text)
        error = None if text is not None else f"its answer is no chat completion ({_said(body) or 'empty'})"
        return Reply(200, body, text, error, after, seconds)

    def _wait(self, tried: int, reply: Reply) -> None:
        """Backs off: as long as the endpoint asks, else up to twice as long each time, by chance."""
        if reply.retry_after is not None and reply.retry_after > PATIENCE:
            raise WorkError(
                f"--endpoint {self.endpoint}: {reply.error}, and asks to wait {reply.retry_after:.0f} s; "
                f"{GOES_ON}"
            )
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tried - 1))
        by_chance = longest * self._jitter.uniform(0.5, 1)
        self._sleep(by_chance if reply.retry_after is None else reply.retry_after)
        if self.stop.is_set():
            raise StoppedError("stopped")

    def _words_of(self, error: httpx2.HTTPError) -> str:
        kind = "timeout" if isinstance(error, httpx2.TimeoutException) else type(error).__name__
        detail = " ".join(self.key.hide(str(error)).split())
        return f"{kind}: {detail[:SHOWN]}" if detail else kind

    def _hint(self, status: int | None) -> str:
        if status in (401, 403):
            return f": {self._about_key()}"
        if status is not None and 300 <= status < 400:
            return ": give the address that it leads to"
        return ": check the path (/v1?) and --judge-model" if status == 404 else ""

    def _about_key(self) -> str:
        name = self.key.variable
        if self.key.value:
            return f"it does not take the key in {name}"
        return f"it wants a key: put it in the environment as {name}, or name another with --key-variable"


def check_endpoint(endpoint: str) -> str:
    """The base URL without a slash at its end.

    Raises:
        InputError: it is none, or holds a password or a query.
    """
    example = "give one such as http://localhost:8000/v1"
    try:
        url = httpx2.URL(endpoint.strip())
    except httpx2.InvalidURL as error:
        raise InputError(f"--endpoint {redact(endpoint)}: not a URL ({error}); {example}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"--endpoint {redact(endpoint)}: not the URL of a server; {example}")
    if url.userinfo or url.query or url.fragment:
        raise InputError("--endpoint: it holds more than an address; a key comes from the environment alone")
    return str(url).rstrip("/").removesuffix("/chat/completions")


def _may_change(reply: Reply) -> bool:
    return reply.status is None or reply.status in (200, *AGAIN) or reply.status >= 500


def _content(body: str) -> str | None:
    """The first choice's text; "" where the judge refused or was cut off before it said anything."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) else "" if content is None else None


def _said(body: str) -> str:
    """An error's message, or the beginning of whatever came."""
    try:
        error = json.loads(body)["error"]
        message = error if isinstance(error, str) else error["message"]
    except (ValueError, KeyError, TypeError):
        message = body
    return " ".join(str(message).split())[:SHOWN]


def _seconds_asked(header: str | None) -> float | None:
    """Of a Retry-After header: seconds, or a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
