"""Web servers that mean harm: where they lead, what they send, and how they are named."""

import asyncio
import gzip
import http.server
import itertools
import threading
import time
import types

import pytest

from audit.errors import CheckpointError, RemoteError
from audit.network.weights.remote import place_digest
from audit.remote import copy_of

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'genaudit[test]'")

PIECE = b"x" * 65536


class Hostile(http.server.BaseHTTPRequestHandler):
    """Does to each request what the first name of its path says."""

    protocol_version = "HTTP/1.1"
    asked = None

    def do_GET(self):
        self.asked.append(f"{self.command} {self.headers['Host']}{self.path}")
        self.close_connection = True
        what = self.path.partition("?")[0].split("/")[1]
        getattr(self, f"send_{what}".replace("-", "_"), self.send_file)()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *given):
        pass

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, pieces):
        if self.command == "GET":
            try:
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                return

    def send_file(self):
        self.head(Content_Length="4")
        self.body([b"file"])

    def send_to(self):
        self.head(302, Content_Length="0", Location=self.path.partition("?")[2])

    def send_nowhere(self):
        self.head(302, Content_Length="0")

    def send_loop(self):
        self.head(302, Content_Length="0", Location=self.path)

    def send_status(self):
        self.head(int(self.path.split("/")[2]), Content_Length="0")

    def send_endless(self):
        self.head()
        self.body(itertools.repeat(PIECE))

    def send_lie(self):
        self.head(Content_Length="10" if self.command == "HEAD" else str(1 << 40))
        self.body(itertools.repeat(PIECE))

    def send_bomb(self):
        packed = gzip.compress(bytes(30 << 20))
        self.head(Content_Encoding="gzip", Content_Length=str(len(packed)))
        self.body([packed])

    def send_drip(self):
        self.head(Content_Length="100000")
        self.body(time.sleep(0.05) or b"x" for _ in range(200))

    def send_dripping_head(self):
        self.command = "GET"
        self.body([b"HTTP/1.1 200 OK\r\nX-Name: "])
        self.body(time.sleep(0.05) or b"x" for _ in range(200))


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serves on two addresses of this machine; `asked` has every request."""
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "local"))
    monkeypatch.setenv("GENAUDIT_MAX_DOWNLOAD", str(10 << 20))
    handler = type("Handler", (Hostile,), {"asked": []})
    first = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    second = http.server.ThreadingHTTPServer(("127.0.0.2", first.server_port), handler)
    for one in (first, second):
        one.daemon_threads = True
        threading.Thread(target=one.serve_forever, args=[0.05], daemon=True).start()
    first.url = f"http://127.0.0.1:{first.server_port}"
    first.asked = handler.asked
    yield first
    for one in (first, second):
        one.shutdown()
        one.server_close()


def refusal(url):
    with pytest.raises(CheckpointError) as caught:
        place_digest(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "s3://bucket/x", "ftp://127.0.0.1/x"])
def test_a_redirect_to_another_scheme_is_refused(server, target):
    assert refusal(f"{server.url}/to/x.pt?{target}") == (
        f"checkpoint 127.0.0.1 leads to {target}: a redirect may lead to https:// alone, or from "
        "http:// to http://; check the address, or give the one that it leads to"
    )
    assert len(server.asked) == 1


@pytest.mark.parametrize("inward", ["private", "loopback", "link-local"])
def test_a_redirect_leads_no_further_inward(server, monkeypatch, inward):
    monkeypatch.setattr(
        "audit.remote._web._net", lambda address: inward if str(address)[-1] == "2" else "public"
    )
    target = f"http://127.0.0.2:{server.server_port}/file/x.pt"
    assert refusal(f"{server.url}/to/x.pt?{target}?sig=secret") == (
        f"checkpoint 127.0.0.1 leads to {target}, which is on a {inward} net: a redirect may lead "
        "to a public address, or one of the kind that it comes from; check the address, or give "
        "the one that it leads to"
    )
    assert len(server.asked) == 1


def test_a_redirect_on_one_net_is_followed(server):
    target = f"http://127.0.0.2:{server.server_port}/file/x.pt"
    assert place_digest(f"{server.url}/to/x.pt?{target}") == place_digest(f"{server.url}/x.pt")


def test_a_redirect_from_https_to_http_is_refused():
    from yarl import URL

    from audit.remote._web import _check_redirect

    answer = types.SimpleNamespace(headers={"Location": "http://host/x.pt"})
    asked = types.SimpleNamespace(url=URL("https://host/x.pt"), response=answer)
    with pytest.raises(RemoteError, match="a redirect may lead to https:// alone"):
        asyncio.run(_check_redirect(None, None, asked))


def test_redirects_that_come_to_nothing_are_refused(server):
    assert "TooManyRedirects" in refusal(f"{server.url}/loop/x.pt")
    assert refusal(f"{server.url}/nowhere/x.pt") == (
        f"checkpoint {server.url}/nowhere/x.pt was answered with the status 302 and no file; check "
        "the address"
    )


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, "access was refused ("), (401, "there are no credentials"), (418, "it cannot be used")],
)
def test_what_a_server_refuses_is_told_without_the_signature(server, status, says):
    message = refusal(f"{server.url}/status/{status}/x.pt?X-Amz-Signature=secret#secret")
    assert message.startswith(f"checkpoint {server.url}/status/{status}/x.pt: {says}")
    assert "secret" not in message
    assert len(server.asked) == 2


def test_a_server_in_trouble_is_asked_again(server, monkeypatch):
    monkeypatch.setattr("audit.remote.systems._FIRST_WAIT_SECONDS", 0.001)
    message = refusal(f"{server.url}/status/500/x.pt?token=secret")
    assert " gave no answer in 8 tries over " in message
    assert "secret" not in message


@pytest.mark.parametrize("what", ["endless", "bomb"])
def test_a_body_of_no_known_size_ends_at_the_limit(server, tmp_path, what):
    assert refusal(f"{server.url}/{what}/x.pt") == (
        f"checkpoint {server.url}/{what}/x.pt has more than {10 << 20} bytes, which is the limit "
        "or what the disk takes; free space, or set GENAUDIT_MAX_DOWNLOAD to a larger number of "
        "bytes if it is what you want"
    )
    assert [path for path in (tmp_path / "local").rglob("*") if path.is_file()] == []


def test_a_body_larger_than_it_was_said_to_be_is_cut_off(server):
    assert refusal(f"{server.url}/lie/x.pt") == (
        f"checkpoint {server.url}/lie/x.pt changed while it was fetched, or is not what it was "
        "said to be: more than the 10 bytes expected came; run again, or take the file from "
        "elsewhere"
    )


def test_a_body_that_drips_is_given_up(server, monkeypatch):
    monkeypatch.setattr("audit.remote._watch.WINDOW_SECONDS", 0.2)
    assert " came too slowly: " in refusal(f"{server.url}/drip/x.pt")


def test_a_head_that_drips_is_given_up(server, monkeypatch):
    monkeypatch.setattr("audit.remote._web._HEAD_SECONDS", 0.2)
    monkeypatch.setattr("audit.remote.systems.MAX_SECONDS", 0.0)
    assert " gave no answer in 1 tries over 0 seconds" in refusal(f"{server.url}/dripping-head/x")


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2f..%2fout.pt", "..%5c..%5cout.pt", "x%00.pt", "%0a%1b[31m.pt", f"{'long' * 80}.pt"],
)
def test_no_name_leads_out_of_the_copies(server, tmp_path, name):
    copied = copy_of(f"{server.url}/file/{name}").path
    assert copied.resolve().parent.parent == (tmp_path / "local" / "copies").resolve()
    assert copied.read_bytes() == b"file"
    assert copied.suffix == ".pt"
    assert copied.name.isprintable()
    assert {path.name for path in tmp_path.iterdir()} == {"local"}


@pytest.mark.parametrize("name", ["..", "%2e%2e", "."])
def test_a_url_that_names_no_file_is_refused(server, name):
    assert refusal(f"{server.url}/file/{name}").endswith("names no file; check the address")
    assert server.asked == []


def test_what_changes_between_looking_and_fetching_is_seen(server):
    contents = iter([b"four", b"more than that"])

    def send_file(self):
        content = next(contents)
        self.head(Content_Length=str(len(content)), ETag='"same"')
        self.body([content])

    server.RequestHandlerClass.send_file = send_file
    assert "more than the 4 bytes expected came" in refusal(f"{server.url}/x.pt")
