"""The judge's endpoint: which API key it may see, and requests that are repeated where that may help.

The key goes to the endpoint that it was given for, in one header, and into no message and no file:
OPENAI_API_KEY to https://api.openai.com alone, a key named with --key-variable to any https address or to
this machine.
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event

import httpx2
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    sleep_using_event,
    stop_after_attempt,
    wait_exponential_jitter,
)

from ..errors import InputError, WorkError
from ..store.io import redact
from .records import Reply

OPENAI_HOST, OPENAI_VARIABLE = "api.openai.com", "OPENAI_API_KEY"
HIDDEN = "***"
TRANSIENT = (408, 409, 429)  # HTTP status codes that may pass, like all from 500
LONGEST_WAIT = 60.0  # seconds between two tries, unless the endpoint asks for more
LONGEST_RETRY_AFTER = 600.0  # seconds that an endpoint may ask to wait
LONGEST_TIMEOUT = 86400.0  # seconds; sockets refuse far more
SHOWN = 300  # characters of an endpoint's words in a message
RESUME = "the same command goes on from here"

backoff = wait_exponential_jitter(max=LONGEST_WAIT)  # 1 to 2 s, then 2 to 3, 4 to 5, ...


@dataclass(frozen=True)
class Key:
    """An API key and the environment variable that holds it; both are empty where no key is sent."""

    variable: str = ""
    value: str = field(default="", repr=False)

    def hide(self, text: str) -> str:
        """Returns `text` without the key, also where it stands in JSON with escapes."""
        if not self.value:
            return text
        written = "".join(rf"(?:\\?{re.escape(letter)}|\\u{ord(letter):04x})" for letter in self.value)
        return re.sub(written, HIDDEN, text, flags=re.IGNORECASE)


def read_key(endpoint: str, variable: str | None) -> Key:
    """Returns the key for an endpoint from the environment.

    Args:
        variable: environment variable with the key; None: OPENAI_API_KEY, for OpenAI's own address alone.

    Raises:
        InputError: the named variable is empty or holds no key; or the key would be sent unencrypted.
    """
    url = httpx2.URL(check_endpoint(endpoint))
    if variable is None and (url.scheme, url.host, url.port) != ("https", OPENAI_HOST, None):
        return Key()
    name = variable or OPENAI_VARIABLE
    if not re.fullmatch(r"\w+", name, re.ASCII):  # not shown: it may be a key
        raise InputError(
            "--key-variable: not the name of an environment variable; give the name, not the key"
        )
    value = os.environ.get(name, "").strip()
    if variable and not value:
        raise InputError(f"--key-variable {variable}: no such variable in the environment, or it is empty")
    if not all("!" <= letter <= "~" for letter in value):
        raise InputError(f"{name}: not a key: a key consists of ASCII letters, digits and signs, no spaces")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise InputError(
            f"--endpoint {endpoint}: the key in {name} would be sent unencrypted; give an https address, or "
            "leave out --key-variable"
        )
    return Key(name, value)


def check_endpoint(endpoint: str) -> str:
    """Returns the base URL without a slash at its end; raises InputError if it is none, or holds a secret."""
    example = "give one such as http://localhost:8000/v1"
    try:
        url = httpx2.URL(endpoint.strip())
    except httpx2.InvalidURL as error:
        raise InputError(f"--endpoint {redact(endpoint)}: not a URL ({error}); {example}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"--endpoint {redact(endpoint)}: not the URL of a server; {example}")
    if url.userinfo or url.query or url.fragment:
        raise InputError(
            "--endpoint: it must be an address without password, query or fragment; a key comes from the "
            "environment alone"
        )
    return str(url).rstrip("/").removesuffix("/chat/completions")


class Client:
    """Asks one endpoint that speaks OpenAI's chat protocol; may be used from several threads.

    Args:
        endpoint: base URL, such as http://localhost:8000/v1.
        key: sent as a bearer token; see `read_key`.
        retries: tries of a request after the first.
        timeout: seconds without a byte.
        sleep: waits for some seconds; by default until `stop` is set, at most.

    Raises:
        InputError: `endpoint` is no URL of a server, or `timeout` is out of range.
    """

    def __init__(
        self,
        endpoint: str,
        key: Key,
        retries: int = 6,
        timeout: float = 120.0,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.endpoint, self.key, self.retries = check_endpoint(endpoint), key, retries
        if not 0 < timeout <= LONGEST_TIMEOUT:
            raise InputError(
                f"--timeout {timeout:g}: must be above 0 and at most {LONGEST_TIMEOUT:g} seconds"
            )
        self.stop = Event()
        self._sleep = sleep or sleep_using_event(self.stop)
        url = httpx2.URL(self.endpoint)
        # with HTTP_PROXY set, plain http to this machine would carry the key to the proxy
        proxied = not (url.scheme == "http" and _is_loopback(url.host))
        headers = {"Authorization": f"Bearer {key.value}"} if key.value else {}
        self._http = httpx2.Client(timeout=timeout, headers=headers, trust_env=proxied)

    def check(self) -> None:
        """Raise WorkError, before hours of work, if the endpoint does not answer or does not take the key."""
        try:
            status = self._http.get(f"{self.endpoint}/models").status_code
        except httpx2.HTTPError as error:
            raise WorkError(
                f"--endpoint {self.endpoint} cannot be reached ({self._describe(error)}): is the server up?"
            ) from None
        if status == 401:  # other statuses say nothing: not every server lists its models
            raise WorkError(f"--endpoint {self.endpoint} answers 401{self._hint(401)}")

    def ask(self, request: Mapping[str, object], keep: Callable[[Reply], None]) -> str:
        """Returns the judge's text.

        Args:
            request: JSON document for `/chat/completions`.
            keep: is called with the reply to every try.

        Raises:
            WorkError: the endpoint refuses the request, or all tries failed, or `stop` is set.
        """

        def attempt() -> Reply:
            if self.stop.is_set():
                raise WorkError("stopped")
            reply = self._post(request)
            keep(reply)
            return reply

        retrying = Retrying(
            retry=retry_if_result(_is_worth_a_retry),
            wait=_seconds_to_wait,
            stop=stop_after_attempt(self.retries + 1),
            sleep=self._sleep,
            retry_error_callback=_last_reply,
        )
        reply = retrying(attempt)
        if reply.text is not None:
            return reply.text
        if not _is_transient(reply):
            problem = f"{reply.error}{self._hint(reply.status)}"
        elif not _is_worth_a_retry(reply):
            problem = f"{reply.error}, and asks to wait {reply.retry_after:.0f} s; {RESUME}"
        else:
            problem = f"no answer in {self.retries + 1} tries, at last: {reply.error}; {RESUME}"
        raise WorkError(f"--endpoint {self.endpoint}: {problem}")

    def _post(self, request: Mapping[str, object]) -> Reply:
        start = time.monotonic()
        status, body, text, error, retry_after = None, "", None, None, None
        try:
            response = self._http.post(f"{self.endpoint}/chat/completions", json=request)
        except httpx2.HTTPError as failure:
            error = self._describe(failure)
        else:
            status, body = response.status_code, self._clean(response.text)
            retry_after = _parse_retry_after(response.headers.get("retry-after"))
            text, said = _parse(body)
            if status != 200:
                text, error = None, f"it answers {status} ({self._one_line(said or response.reason_phrase)})"
            elif text is None:
                error = f"its answer is no chat completion ({self._one_line(said) or 'empty'})"
        return Reply(
            status=status,
            body=body,
            text=None if text is None else self._clean(text),
            error=error,
            retry_after=retry_after,
            seconds=round(time.monotonic() - start, 3),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _describe(self, error: httpx2.HTTPError) -> str:
        kind = "timeout" if isinstance(error, httpx2.TimeoutException) else type(error).__name__
        detail = self._one_line(str(error))
        return f"{kind}: {detail}" if detail else kind

    def _clean(self, text: str) -> str:
        """Returns `text` without the key and without lone surrogates, which no file can hold."""
        return self.key.hide(text).encode(errors="replace").decode()

    def _one_line(self, text: str) -> str:
        """Returns the beginning of an endpoint's words, without the key and without control characters."""
        shown = "".join(letter if letter.isprintable() else " " for letter in self._clean(text))
        return " ".join(shown.split())[:SHOWN]

    def _hint(self, status: int | None) -> str:
        match status:
            case 401 | 403 if self.key.value:
                return f": it does not take the key in {self.key.variable}"
            case 401 | 403 if self.key.variable:
                return f": it wants a key: put it in the environment as {self.key.variable}"
            case 401 | 403:
                return (
                    ": it wants a key: name the environment variable that holds it with --key-variable "
                    f"({OPENAI_VARIABLE} goes to {OPENAI_HOST} alone)"
                )
            case 404:
                return ": check the path (/v1?) and --judge-model"
        return ": give the address that it leads to" if status in range(300, 400) else ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_transient(reply: Reply) -> bool:
    return reply.status is None or reply.status in (200, *TRANSIENT) or reply.status >= 500


def _is_worth_a_retry(reply: Reply) -> bool:
    return reply.text is None and _is_transient(reply) and (reply.retry_after or 0) <= LONGEST_RETRY_AFTER


def _last_reply(state: RetryCallState) -> Reply:
    assert state.outcome is not None
    reply: Reply = state.outcome.result()
    return reply


def _seconds_to_wait(state: RetryCallState) -> float:
    """Returns what the endpoint asks for, else a wait that doubles."""
    asked = _last_reply(state).retry_after
    return backoff(state) if asked is None else asked


def _parse(body: str) -> tuple[str | None, str]:
    """Returns the judge's text, None unless `body` is a chat completion; and else what the endpoint says.

    The text is "" where the judge refused or was cut off before it said anything.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None, body
    match document:
        case {"choices": [{"message": {"content": None}}, *_]}:
            return "", ""
        case {"choices": [{"message": {"content": str(text)}}, *_]}:
            return text, ""
        case {"error": {"message": said}} | {"error": said}:
            return None, str(said)
    return None, body


def _parse_retry_after(header: str | None) -> float | None:
    """Returns the seconds of a Retry-After header, which holds seconds or a date; None: it holds neither."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
