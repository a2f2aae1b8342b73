"""A server of Google Cloud Storage on this machine, whose requests are counted and can fail.

It is gcp-storage-emulator, which answers every listing with one page: pages are made here.
"""

import http.server
import io
import itertools
import json
import logging
import socket
import threading
from urllib.parse import parse_qs, urlsplit

from counted_bucket import CountedBucket
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

#: What a client needs to take the server for its own, and to ask no other.
ENVIRONMENT = {"NO_GCE_CHECK": "true", "GOOGLE_CLOUD_PROJECT": "project"}
#: Names of a page, whatever is asked for.
PAGE = 1000
_STATUSES = {
    "slow down": (503, "Please reduce it."),
    "denied": (403, "No access."),
    "unknown": (401, "Anonymous caller does not have storage.objects.create access."),
}


class _Memory(Storage):
    """What the emulator holds, without a list of it that is written anew by every write."""

    def __init__(self):
        super().__init__(use_memory_fs=True)

    def _write_config_to_file(self):
        pass


class Bucket(CountedBucket):
    """A bucket of the emulator."""

    def __init__(self, name, storage):
        super().__init__(name, f"gs://{name}")
        self._storage = storage

    def objects(self, prefix=""):
        found, _ = self._storage.get_file_list(self.name, prefix)
        return {f["name"]: bytes(self._storage.get_file(self.name, f["name"])) for f in found}

    def put(self, key, content):
        size = str(len(content))
        made = objects._make_object_resource("", self.name, key, "application/x", size)
        self._storage.create_file(self.name, key, content, objects._checksums(content, made))

    def remove(self, key):
        self._storage.delete_file(self.name, key)

    def put_many(self, keys):
        for key in keys:
            self.put(key, b"")


class GoogleServer:
    """The emulator, with a gate before it.

    Attributes:
        address_variable: The variable of the environment that leads to it.
    """

    scheme, address_variable = "gs", "STORAGE_EMULATOR_HOST"

    def __init__(self, patch, folder):
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        self._storage, self.buckets = _Memory(), {}
        self._numbers = itertools.count()
        gate = type("Gate", (_Gate,), {"owner": self, "busy": threading.Lock()})
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *given: gate(self._storage, *given)
        )
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        address = f"http://127.0.0.1:{self._server.server_port}"
        for name, value in {**ENVIRONMENT, self.address_variable: address}.items():
            patch.setenv(name, value)
        patch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        patch.setenv("CLOUDSDK_CONFIG", str(folder))

    def new_bucket(self):
        """A bucket that is empty."""
        name = f"bucket-{next(self._numbers)}"
        buckets.create_bucket(name, self._storage)
        bucket = self.buckets[name] = Bucket(name, self._storage)
        return bucket

    def stop(self):
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


class _Gate(RequestHandler):
    """Count a request, and let befall it what is planned."""

    owner: GoogleServer
    busy: threading.Lock

    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        place = urlsplit(self.path)
        names = place.path.partition("/b/")[2].split("/")
        bucket = self.owner.buckets.get(names[0])
        kind = _kind(self.command, place)
        fault = bucket.next_fault(kind) if bucket else ""
        out, self.wfile = self.wfile, io.BytesIO()
        body = io.BytesIO(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        whole_rfile, self.rfile = self.rfile, body
        if fault == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        with self.busy:
            if fault in _STATUSES:
                self._answer(_STATUSES[fault][0], {"error": _error(*_STATUSES[fault])})
            elif kind == "list" and bucket:
                self._answer(200, self._page(names[0], parse_qs(place.query)))
            else:
                getattr(self, f"do_{self.command}")()
        answer, self.wfile, self.rfile = self.wfile.getvalue(), out, whole_rfile
        if fault == "cut short":
            head, mark, content = answer.partition(b"\r\n\r\n")
            answer = head + mark + content[: len(content) // 2]
        self.wfile.write(answer)
        self.wfile.flush()

    def _answer(self, status, content):
        """Answer with JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _page(self, name, query):
        """One page of a listing."""
        asked = {key: values[0] for key, values in query.items()}
        files, prefixes = self.storage.get_file_list(
            name, asked.get("prefix"), asked.get("delimiter") or None
        )
        first, n = int(asked.get("pageToken") or 0), min(int(asked.get("maxResults") or PAGE), PAGE)
        more = {"nextPageToken": str(first + n)} if first + n < len(files) else {}
        items = files[first : first + n]
        return {"kind": "storage#objects", "prefixes": prefixes, "items": items, **more}


def _kind(method, place):
    """What a request asks for."""
    if "/rewriteTo/" in place.path or "/copyTo/" in place.path or "/compose" in place.path:
        return "copy"
    if method != "GET":
        return {"POST": "put", "DELETE": "delete"}.get(method, method.lower())
    if place.path.endswith("/o"):
        return "list"
    return "get" if "alt=media" in place.query else "head"


def _error(status, message):
    return {"code": status, "message": message}
