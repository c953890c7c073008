"""A judge on this machine that speaks OpenAI's protocol, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Said:
    """One answer of the server."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # the connection ends in the middle of the body
    delay: float = 0.0  # seconds before it comes
    reason: str | None = None  # phrase behind the status


def says(text: str | None) -> Said:
    """A chat completion."""
    return Said(body=json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}))


def refuses(status: int, message: str, **headers: str) -> Said:
    """An error in OpenAI's form."""
    return Said(status, json.dumps({"error": {"message": message}}), headers)


Request = dict[str, object]


class JudgeServer:
    """What it is asked and how often; its answers come from `script`, then from `otherwise`."""

    def __init__(self, script: Sequence[Said], otherwise: Callable[[Request], Said]) -> None:
        self.script, self.otherwise = iter(script), otherwise
        self.asked: list[Request] = []
        self.authorizations: list[str | None] = []
        self.authorizations_of_get: list[str | None] = []
        self.models = Said(404)  # to GET /models: not every server lists its models
        self.url = ""
        self._lock = threading.Lock()

    def next(self, request: Request, authorization: str | None) -> Said:
        with self._lock:
            self.asked.append(request)
            self.authorizations.append(authorization)
            return next(self.script, None) or self.otherwise(request)


@contextmanager
def judge_server(
    *script: Said, otherwise: Callable[[Request], Said] = lambda request: says("Rating: [[6]]")
) -> Iterator[JudgeServer]:
    """A running one, at `url`; it is asked at `url` + /chat/completions."""
    judge = JudgeServer(script, otherwise)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            judge.authorizations_of_get.append(self.headers["Authorization"])
            self._say(judge.models)

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                self._say(refuses(404, f"no {self.path} here"))
            else:
                self._say(judge.next(request, self.headers["Authorization"]))

        def _say(self, said: Said) -> None:
            time.sleep(said.delay)
            data = said.body.encode()
            try:
                self.send_response(said.status, said.reason)
                for name, value in said.headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if said.cut else data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was too slow for whoever asked

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
