"""A hub of models on loopback, as Hugging Face answers, that can be made to misbehave."""
import hashlib
import http.server
import json
import os
import threading
import urllib.parse

PIECE_BYTES = 4096
# Files from this size on have a SHA-256 in the list, as files in LFS do.
LARGE_BYTES = 4096


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Request:
    """What a server was asked."""

    def __init__(self, server, handler):
        self.server = server  # "hub" or "store"
        self.path = handler.path
        self.file = handler.path.rsplit("/", 1)[-1]
        self.range = handler.headers.get("Range")
        self.authorization = handler.headers.get("Authorization")


class Hub:
    """Serves `files` (name to bytes) as the repository `name`; the attributes below change how."""
    name = "someone/tiny"

    def __init__(self, files):
        self.files = dict(files)
        self.requests = []
        self.token = None          # without it: 401
        self.listed = {}           # file to fields of its entry in the list that are to be others
        self.sent = {}             # file to bytes that are sent instead
        self.lengths = {}          # file to the Content-Length that is said
        self.break_after = None    # called for each answer: bytes to send before the connection ends
        self.hold_after = None     # bytes of files in all, after which nothing more is sent
        self.ignores_range = False
        self.answers_first = []    # statuses of the first requests for files
        self.redirects_to = None   # where large files lie; "store": the second server
        self.list_text = None      # instead of the list
        self.page_entries = None   # entries on one page of the list
        self.held = threading.Event()
        self._released = threading.Event()
        self._bytes_sent = 0
        self._lock = threading.Lock()
        self._servers = {}
        for server in ("hub", "store"):
            self._servers[server] = http.server.ThreadingHTTPServer(
                ("127.0.0.1", 0), self._handler(server))
            self._servers[server].daemon_threads = True
            threading.Thread(target=self._servers[server].serve_forever, daemon=True).start()

    def url(self, server="hub"):
        return f"http://127.0.0.1:{self._servers[server].server_port}"

    def stop(self):
        self.release()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def hold(self, after_bytes):
        """From now on: send so many bytes of files, then nothing."""
        self.held.clear()
        self._released.clear()
        self._bytes_sent, self.hold_after = 0, after_bytes

    def release(self):
        """Lets what hangs go, and holds nothing more."""
        self.hold_after = None
        self._released.set()

    def asked_for(self, file):
        return [request for request in self.requests if request.file == file]

    def _handler(self, server):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                with hub._lock:
                    request = Request(server, self)
                    hub.requests.append(request)
                try:
                    hub._answer(self, request)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                self.close_connection = True

        return Handler

    def _answer(self, handler, request):
        if request.server == "hub" and self.token is not None and (
                request.authorization != f"Bearer {self.token}"):
            self._send(handler, 401, b"no", {"X-Error-Message": "Invalid username or password."})
            return
        url = urllib.parse.urlsplit(request.path)
        if url.path == f"/api/models/{self.name}/tree/main":
            self._send_list(handler, url)
        elif url.path.startswith(f"/{self.name}/resolve/main/") and request.file in self.files:
            self._send_file(handler, request)
        else:
            self._send(handler, 404, b"no", {"X-Error-Message": "Repository not found"})

    @staticmethod
    def _send(handler, status, body, headers=None):
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _entry(self, name):
        data = self.files[name]
        entry = {"type": "file", "oid": git_sha1(data), "size": len(data), "path": name}
        if len(data) >= LARGE_BYTES:
            entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
        return entry | self.listed.get(name, {})

    def _send_list(self, handler, url):
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "onnx"}]
        entries += [self._entry(name) for name in self.files]
        headers = {"Content-Type": "application/json"}
        if self.page_entries:
            begin = int(dict(urllib.parse.parse_qsl(url.query)).get("cursor", 0))
            end = begin + self.page_entries
            if end < len(entries):
                headers["Link"] = (f"<{self.url()}{url.path}?recursive=true&cursor={end}>; "
                                   'rel="next"')
            entries = entries[begin:end]
        text = json.dumps(entries) if self.list_text is None else self.list_text
        self._send(handler, 200, text.encode(), headers)

    def _send_file(self, handler, request):
        if self.answers_first:
            self._send(handler, self.answers_first.pop(0), b"later")
            return
        name = request.file
        if (self.redirects_to is not None and request.server == "hub"
                and len(self.files[name]) >= LARGE_BYTES):
            base = self.url("store") if self.redirects_to == "store" else self.redirects_to
            self._send(handler, 302, b"", {"Location": base + request.path})
            return
        data = self.sent.get(name, self.files[name])
        begin = 0
        if request.range is not None and not self.ignores_range:
            begin = int(request.range.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(data):
                self._send(handler, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(self.lengths.get(name, len(data) - begin)))
        handler.end_headers()
        self._send_pieces(handler, data[begin:])

    def _send_pieces(self, handler, data):
        count = len(data) if self.break_after is None else self.break_after(len(data))
        data = data[:count]
        while data:
            size = min(PIECE_BYTES, len(data))
            if self.hold_after is not None:
                size = min(size, self.hold_after - self._bytes_sent)
                if size <= 0:
                    handler.wfile.flush()
                    self.held.set()
                    self._released.wait()
                    return
            handler.wfile.write(data[:size])
            self._bytes_sent += size
            data = data[size:]


def read_folder(folder, *names):
    files = {}
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            files[name] = file.read()
    return files
