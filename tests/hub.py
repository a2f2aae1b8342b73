"""A model hub on this machine, which speaks what `huggingface_hub` asks of one.

Files are read whole and never change. What a repository says is decided by its name, so that a test
can ask for a hub that refuses, is busy, or breaks off.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40


class Hub(http.server.ThreadingHTTPServer):
    """Serves repositories until it is shut down.

    Args:
        repositories: "organization/name" → file name → content.

    Attributes:
        asked: "METHOD path" → how often.
        refusals: "organization/name" → (status, the hub's word for it) in place of every answer.
        broken: "organization/name" whose files end in the middle.
    """

    daemon_threads = True

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.asked: Counter[str] = Counter()
        self.refusals: dict[str, tuple[int, str]] = {}
        self.broken: set[str] = set()

    @property
    def url(self) -> str:
        """For `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def running_hub(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    """A hub, as long as it is needed."""
    with Hub(repositories) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()


def _entry(name: str, content: bytes) -> dict[str, object]:
    """What the hub says of one file."""
    oid = hashlib.sha1(content).hexdigest()
    large = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return {"type": "file", "path": name, "oid": oid, "size": len(content), "lfs": large}


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.server.asked[f"{self.command} {path}"] += 1
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        repository = "/".join(parts[:2])
        if repository in self.server.refusals:
            self._refuse(*self.server.refusals[repository])
        elif repository not in self.server.repositories:
            self._refuse(404, "RepoNotFound")
        elif api:
            self._say(repository, parts[2:], body)
        else:
            self._file(repository, parts[3], "/".join(parts[4:]))

    def _refuse(self, status: int, word: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": word, "X-Error-Message": word})

    def _say(self, repository: str, asked: list[str], body: bytes) -> None:
        """What the hub says of a repository and its files."""
        files = self.server.repositories[repository]
        entries = [_entry(name, content) for name, content in files.items()]
        said: object = entries
        if asked[:1] == ["paths-info"]:
            given = json.loads(body)
            wanted = set(given["paths"] if isinstance(given, dict) else ())
            said = [entry for entry in entries if entry["path"] in wanted]
        elif asked[:1] != ["tree"]:
            said = {
                "_id": "1",
                "id": repository,
                "modelId": repository,
                "sha": COMMIT,
                "private": False,
                "tags": [],
                "siblings": [{"rfilename": name} for name in files],
            }
        self._send(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: str, revision: str, name: str) -> None:
        """One file, or a part of it."""
        content = self.server.repositories[repository].get(name)
        if revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            about = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            start, end = 0, len(content)
            if given := self.headers.get("Range"):
                first, _, last = given.removeprefix("bytes=").partition("-")
                start, end = int(first), int(last) + 1 if last else end
                about["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            part = content[start:end]
            self._send(206 if given else 200, part, about, repository in self.server.broken)

    def _send(
        self, status: int, content: bytes, headers: Mapping[str, str], broken: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if broken else content)
        if broken:
            self.close_connection = True
