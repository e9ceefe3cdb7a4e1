import hashlib
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pareq.errors import DataError
from pareq.tasks.download import cache_folder, fetch

CONTENT = bytes(range(256)) * 9000
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; may cut connections off, ignore ranges, and notes the ranges asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut_after: int | None = None
        self.honours_ranges = True
        self.content = CONTENT
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/jets.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if "absent" in self.path:
            self.send_error(404)
            return
        start = 0
        if wanted and server.honours_ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.cut_after is None else body[: server.cut_after])


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_arrives_whole_with_progress(server, tmp_path):
    steps = []
    to = tmp_path / "cache" / "jets.tar.gz"
    assert fetch(server.url, to, checksum=SHA, progress=lambda *s: steps.append(s)) == to
    assert to.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert [p.name for p in to.parent.iterdir()] == ["jets.tar.gz"]


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    to = tmp_path / "jets"
    to.write_bytes(b"mine")
    fetch(server.url, to, checksum=SHA)
    assert to.read_bytes() == b"mine"
    assert server.asked == []


def test_a_connection_cut_off_is_resumed_where_it_ended(server, tmp_path):
    to, server.cut_after = tmp_path / "jets", 1_000_000
    with pytest.raises(DataError, match=r"could not be reached .*ended after 1000000 of 2304000"):
        fetch(server.url, to, checksum=SHA)
    assert not to.exists()
    server.cut_after = None
    fetch(server.url, to, checksum=SHA)
    assert to.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    to, server.honours_ranges = tmp_path / "jets", False
    to.with_name("jets.part").write_bytes(b"x" * 1000)
    fetch(server.url, to, checksum=SHA)
    assert to.read_bytes() == CONTENT


def test_a_whole_part_file_only_gets_its_name(server, tmp_path):
    to = tmp_path / "jets"
    to.with_name("jets.part").write_bytes(CONTENT)
    fetch(server.url, to, checksum=SHA)
    assert to.read_bytes() == CONTENT


def test_other_bytes_than_promised_are_removed(server, tmp_path):
    to, server.content = tmp_path / "jets", b"something else"
    with pytest.raises(DataError, match=r"^download: http.* has sha256 .*, expected .*removed"):
        fetch(server.url, to, checksum=SHA)
    assert list(tmp_path.iterdir()) == []


def test_md5_serves_too_and_others_are_refused(server, tmp_path):
    fetch(server.url, tmp_path / "a", checksum="md5:" + hashlib.md5(CONTENT).hexdigest())
    with pytest.raises(DataError, match="unknown checksum 'crc:12', expected md5"):
        fetch(server.url, tmp_path / "b", checksum="crc:12")


def test_a_file_that_the_server_does_not_have(server, tmp_path):
    to = tmp_path / "jets"
    with pytest.raises(DataError, match=f"absent answered 404 .*put it at {to}"):
        fetch(server.url + "/absent", to)


def test_offline_says_what_to_put_where(tmp_path):
    to = tmp_path / "jets"
    with socket.socket() as taken:  # bound but not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/jets"
        with pytest.raises(DataError) as caught:
            fetch(url, to)
    assert str(caught.value).startswith(f"download: {url} could not be reached (")
    assert str(caught.value).endswith(f"download it on another machine and put it at {to}")
    assert "\n" not in str(caught.value)


def test_a_file_url(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    assert fetch(source.as_uri(), tmp_path / "copy", checksum=SHA).read_bytes() == CONTENT
    with pytest.raises(DataError, match="could not be reached"):
        fetch((tmp_path / "nothing").as_uri(), tmp_path / "other")


def test_a_folder_that_cannot_be_written(server, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DataError, match="could not be saved to"):
        fetch(server.url, blocked / "jets")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PAREQ_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("PAREQ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pareq"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "pareq"
