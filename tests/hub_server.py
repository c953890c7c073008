"""A Hugging Face hub on this machine, serving folders as repositories the way huggingface.co does."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, Literal, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml
from datasets import ClassLabel, Dataset, Features, Value

from .processes import Forked, start_forked, start_nursery

Mode = Literal["normal", "503", "404", "gated", "portal", "silent", "gone"]
"""normal; 503 or 404 for everything; gated: all is seen, but no file is given; portal: a web page for
everything, as in a hotel; silent: no answer ever; gone: the port is closed."""
Json = dict[str, "Json"] | list["Json"] | str | int | bool | None
ROOT = Path(__file__).resolve().parents[1]
PRELOADED = (
    "sparsegrad_cli.cli.main",  # first: it sets how much torch logs
    "sparsegrad_cli.cli.finetune",
    "sparsegrad_cli.report",
    "sparsegrad_cli.training.run",
    "sparsegrad_cli.training.push",
    "sparsegrad_cli.tasks.oasst",
)
LARGE = (".safetensors", ".parquet")  # what the hub keeps in LFS and hands out from another host


PRELUDE = """
import json
from sparsegrad_cli.errors import InputError

def tell(work):
    try:
        answer = {"answer": work()}
    except InputError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)

def switch(mode):
    print("@" + mode, flush=True)
    input()
"""


@dataclass(frozen=True)
class Repository:
    """A folder as one commit of a repository."""

    id: str
    kind: Literal["models", "datasets"]
    folder: Path

    def files(self) -> list[str]:
        return sorted(f.relative_to(self.folder).as_posix() for f in self.folder.rglob("*") if f.is_file())

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for name in self.files():
            digest.update(name.encode() + (self.folder / name).read_bytes())
        return digest.hexdigest()

    def entry(self, name: str) -> dict[str, Json]:
        """A file in a listing of the tree."""
        content = (self.folder / name).read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Json] = {"type": "file", "path": name, "size": len(content), "oid": git}
        if name.endswith(LARGE):
            entry["lfs"] = {
                "oid": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "pointerSize": 134,
            }
        return entry

    def tree(self, under: str, recursive: bool) -> list[dict[str, Json]]:
        """What is below a folder, folders too."""
        prefix = f"{under}/" if under else ""
        inside = [name for name in self.files() if name.startswith(prefix)]
        folders = {
            prefix + "/".join(parts[:depth])
            for parts in (name.removeprefix(prefix).split("/") for name in inside)
            for depth in range(1, len(parts))
        }
        entries = [
            {"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)
        ]
        entries += [self.entry(name) for name in inside]
        return [e for e in entries if recursive or "/" not in e["path"].removeprefix(prefix)]

    def info(self) -> dict[str, Json]:
        """The answer about the repository itself."""
        return {
            "id": self.id,
            "sha": self.commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "lastModified": "2024-01-30T07:41:18.000Z",
            "createdAt": "2022-03-02T23:29:22.000Z",
            "tags": [],
            "downloads": 1,
            "likes": 1,
            "siblings": [{"rfilename": name} for name in self.files()],
        }


@cache
def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@cache
def _link() -> Path:
    return Path(tempfile.mkdtemp(prefix="sparsegrad-hub-")) / "home"


_nursery: list[str] = []  # its address, once it is started


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients that give up waiting are part of the tests."""


@dataclass
class Hub:
    """The server: where it is, what to set to use it, and what it was asked.

    Libraries read address and cache when they are imported. So that processes with their imports behind them
    can be forked for every hub, all hubs of a process have one address, one hub at a time, and the cache that
    is named is a link to that of the hub which is asked.
    """

    repositories: dict[tuple[str, str], Repository]  # by kind and id
    cache: Path
    requests: list[str] = field(default_factory=list)  # "GET /api/models/tiny"
    _mode: Mode = "gone"
    _server: _Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{_port()}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a process that is to use this hub, with a cache of its own; set before any import."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(_link()),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    @property
    def mode(self) -> Mode:
        """How it behaves; may be set at any time."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "gone" and self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        elif mode != "gone" and self._server is None:
            handler = type("BoundHandler", (_Handler,), {"hub": self})
            self._server = _Server(("127.0.0.1", _port()), handler)
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()


@contextmanager
def hub(
    cache: Path, models: Mapping[str, Path] | None = None, datasets: Mapping[str, Path] | None = None
) -> Iterator[Hub]:
    """Serve folders under their ids.

    Args:
        cache: A new folder for the caches of the processes that use this hub (`HF_HOME`).
        models: id -> folder, as `save_pretrained` leaves it.
        datasets: id -> folder, as `glue_repository` leaves it.
    """
    found = [Repository(id, "models", folder) for id, folder in (models or {}).items()]
    found += [Repository(id, "datasets", folder) for id, folder in (datasets or {}).items()]
    server = Hub({(repository.kind, repository.id): repository for repository in found}, cache)
    server.mode = "normal"
    try:
        yield server
    finally:
        server.mode = "gone"


def glue_repository(
    folder: Path, tasks: Mapping[str, Mapping[str, list[dict[str, str | int | float]]]]
) -> Path:
    """Write rows as `nyu-mll/glue` keeps them: `cola/train-00000-of-00001.parquet` and a card that says so.

    Args:
        folder: Where to.
        tasks: task -> split -> rows, with `idx` and a label that is an int (a class) or a float.

    Returns:
        `folder`.
    """
    configs = []
    for task, splits in tasks.items():
        (folder / task).mkdir(parents=True)
        for split, rows in splits.items():
            features = {key: Value("string") for key in rows[0]} | {"idx": Value("int32")}
            score = isinstance(rows[0]["label"], float)
            features["label"] = Value("float32") if score else ClassLabel(num_classes=3)
            table = Dataset.from_list(rows, features=Features(features))
            table.to_parquet(folder / task / f"{split}-00000-of-00001.parquet")
        files = [{"split": split, "path": f"{task}/{split}-*"} for split in splits]
        configs.append({"config_name": task, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n# GLUE\n")
    return folder


class _Handler(BaseHTTPRequestHandler):
    """The routes of the hub that its Python libraries use."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen; `Hub.requests` has them."""

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path).strip("/"), parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.hub.requests.append(f"{self.command} /{path}")
        while self.hub.mode == "silent":
            time.sleep(0.02)
        if self.hub.mode == "503":
            return self._send(503, b"Service Unavailable")
        if self.hub.mode == "portal":
            return self._send(200, b"<html>Accept our terms</html>", {"Content-Type": "text/html"})
        if self.command == "POST" and self._takes(path, body):
            return None
        if path.startswith("cdn/"):
            return self._send_file(self._large_file(path.removeprefix("cdn/")), {})
        api = path.startswith("api/") and not path.startswith("api/resolve-cache/")
        repository, rest = self._repository(path.removeprefix("api/resolve-cache/").removeprefix("api/"))
        if repository is None or self.hub.mode == "404":
            return self._refuse(401, "RepoNotFound", "Invalid username or password.")
        action, _, rest = rest.partition("/")
        revision, _, file = rest.partition("/")
        if action and revision not in ("main", repository.commit):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if not api:
            return self._resolve(repository, action, file)
        if action in ("", "revision"):
            return self._send_json(repository.info())
        if action == "tree":
            recursive = query.get("recursive", ["false"])[0].lower() == "true"
            return self._send_json(repository.tree(file, recursive))
        if action == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            entries = repository.tree("", recursive=True)
            return self._send_json([entry for entry in entries if entry["path"] in wanted])
        return self._refuse(404, "", f"no route {path}")

    def _takes(self, path: str, body: str) -> bool:
        """Answer what an upload asks; returns whether it was one. Every file comes within its commit."""
        if path == "api/repos/create":
            if not self.headers.get("Authorization"):
                self._refuse(401, "", "Invalid username or password.")
                return True
            asked = json.loads(body)
            id = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            folder = self.hub.cache / "uploads" / id
            folder.mkdir(parents=True, exist_ok=True)
            self.hub.repositories.setdefault(("models", id), Repository(id, "models", folder))
            self._send_json({"url": f"{self.hub.url}/{id}", "id": id})
        elif path == "api/validate-yaml":
            self._send_json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            answers = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._send_json({"files": answers})
        elif "/commit/" in path:
            repository, _ = self._repository(path.removeprefix("api/"))
            assert repository is not None
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    file = repository.folder / line["value"]["path"]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(base64.b64decode(line["value"]["content"]))
            url = f"{self.hub.url}/{repository.id}/commit/{repository.commit}"
            self._send_json({"commitUrl": url, "commitOid": repository.commit, "success": True})
        else:
            return False
        return True

    def _repository(self, path: str) -> tuple[Repository | None, str]:
        """The repository that a path begins with, and what follows."""
        kind = path.partition("/")[0]
        if kind in ("models", "datasets"):
            path = path.partition("/")[2]
        else:
            kind = "models"
        for (its_kind, id), repository in self.hub.repositories.items():
            if its_kind == kind and (path == id or path.startswith(f"{id}/")):
                return repository, path[len(id) + 1 :]
        return None, path

    def _resolve(self, repository: Repository, action: str, file: str) -> None:
        """A file's content, by way of the redirects that the hub gives for it."""
        headers = {"X-Repo-Commit": repository.commit}
        if self.hub.mode == "gated":
            return self._refuse(
                403, "GatedRepo", f"Access to {repository.kind} {repository.id} is restricted."
            )
        if file not in repository.files():
            return self._refuse(404, "EntryNotFound", "Entry not found", headers)
        entry = repository.entry(file)
        if "lfs" in entry:
            sha256 = entry["lfs"]["oid"]
            headers |= {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(entry["size"])}
            headers["Location"] = f"http://localhost:{_port()}/cdn/{sha256}"
            return self._send(302, b"", headers)
        if not self.path.startswith("/api/resolve-cache/"):
            where = f"{repository.kind}/{repository.id}/resolve/{repository.commit}/{quote(file)}"
            return self._send(307, b"", headers | {"Location": f"/api/resolve-cache/{where}"})
        return self._send_file(repository.folder / file, headers | {"ETag": f'"{entry["oid"]}"'})

    def _large_file(self, sha256: str) -> Path:
        repositories = self.hub.repositories.values()
        files = (r.folder / name for r in repositories for name in r.files() if name.endswith(LARGE))
        return next(file for file in files if hashlib.sha256(file.read_bytes()).hexdigest() == sha256)

    def _send_file(self, file: Path, headers: dict[str, str]) -> None:
        content = file.read_bytes()
        headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if not wanted:
            return self._send(200, content, headers)
        first, _, last = wanted.partition("-")
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return self._send(206, content[start : end + 1], headers)

    def _send_json(self, answer: Json) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        self._send(status, json.dumps({"error": message}).encode(), said | (headers or {}))

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def ask(server: Hub, script: str, **environment: str) -> list[dict[str, Any]]:
    """Run a script in a process that uses `server`, forked from one that has imported what it needs.

    The script calls `tell(work)` for each answer, and `switch(mode)` to have the server behave otherwise.

    Args:
        server: The hub.
        script: What to run.
        environment: Further variables; `HF_HUB_OFFLINE` is read by an import: the process is a fresh one.
    """
    variables = os.environ | server.environment | environment
    link = Path(server.environment["HF_HOME"])
    link.unlink(missing_ok=True)
    link.symlink_to(server.cache, target_is_directory=True)
    server.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as stderr:
        if "HF_HUB_OFFLINE" in environment:
            process = _fresh(PRELUDE + script, variables, stderr)
        else:
            process = _forked(PRELUDE + script, variables, stderr)
        assert process.stdin
        assert process.stdout
        answers = []
        for line in process.stdout:
            if line.startswith(b"@"):
                server.mode = cast("Mode", line[1:].decode().strip())
                process.stdin.write(b"\n")
                process.stdin.flush()
            else:
                answers.append(json.loads(line))
        code = process.wait()
        process.stdin.close()
        process.stdout.close()
        stderr.seek(0)
        said = stderr.read().decode().strip()
    assert (code, said) == (0, "")
    return answers


def _fresh(script: str, environment: dict[str, str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def _forked(script: str, environment: dict[str, str], stderr: IO[bytes]) -> Forked:
    """The same, from the nursery of this process whose libraries have read this environment."""
    if not _nursery:
        _nursery.append(start_nursery("hub", environment, PRELOADED))
    return start_forked("script", [script], environment, stderr, address=_nursery[0])
