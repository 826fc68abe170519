"""A web server on loopback that misbehaves on demand, for the tests of whatever downloads."""

import contextlib
import hashlib
import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Loopback:
    """Serves ``files[path]``, after the faults in ``faults[path]``, one per request.

    A fault is a dictionary: ``cut`` (send that many bytes, then close), ``status``, ``html`` (a
    page with that content type), ``stall`` (seconds before the answer), ``announce`` (a false
    Content-Length). ``"forever": True`` keeps a fault for all later requests.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.headers = defaultdict(dict)
        self.faults = defaultdict(list)
        self.requests: list[tuple[str, str, dict]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer._answer(self)

            # A proxy is asked to CONNECT; what is posted is a question, and not kept.
            do_HEAD = do_POST = do_CONNECT = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def asked(self, path: str) -> list[dict]:
        """Return the headers of the requests for a path so far."""
        return [headers for _, asked, headers in self.requests if asked == path]

    def _answer(self, handler):
        # A proxy is asked for whole addresses; the query may be part of a file's name here.
        parts = urlsplit(handler.path)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        path = path if path in self.files else parts.path
        asked = {name.title(): value for name, value in handler.headers.items()}
        self.requests.append((handler.command, path, asked))
        faults = self.faults[path]
        fault = {} if not faults else faults[0] if faults[0].get("forever") else faults.pop(0)
        time.sleep(fault.get("stall", 0))
        status, body = 200, self.files.get(path)
        headers = {"Content-Type": "application/octet-stream"}
        if "status" in fault or body is None:
            status, body = fault.get("status", 404), b"nothing here"
        elif "html" in fault:
            # One kind is known by its content type, the other by its first bytes.
            headers = {"Content-Type": fault["html"]}
            tag = b"" if "html" in fault["html"] else b"\n <!DOCTYPE html><html>"
            body = tag + b"<body>Please log in.</body>"
        else:
            headers |= {"ETag": f'"{hashlib.md5(body).hexdigest()}"', **self.headers[path]}
            begin, _, end = asked.get("Range", "").removeprefix("bytes=").partition("-")
            if begin:
                last = min(int(end or len(body) - 1), len(body) - 1)
                headers["Content-Range"] = f"bytes {begin}-{last}/{len(body)}"
                status, body = 206, body[int(begin) : last + 1]
        handler.close_connection = True
        handler.send_response(status)
        headers["Content-Length"] = str(fault.get("announce", len(body)))
        for name, value in {"Connection": "close", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            with contextlib.suppress(OSError):  # the client has gone
                handler.wfile.write(body[: fault.get("cut", len(body))])


def serve_hub(server: Loopback, name: str, revision: str, folder: Path) -> None:
    """Serve a folder as a repository of the Hugging Face hub, at one revision and as main."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0"} for f in files]
    about = {"id": name, "sha": revision, "siblings": [{"rfilename": f.name} for f in files]}
    for known in (revision, "main"):
        server.files[f"/api/models/{name}/revision/{known}"] = json.dumps(about).encode()
        server.files[f"/api/models/{name}/tree/{known}"] = json.dumps(tree).encode()
        for file in files:
            path = f"/{name}/resolve/{known}/{file.name}"
            server.files[path] = file.read_bytes()
            server.headers[path] = {"X-Repo-Commit": revision}
            if file.suffix == ".safetensors":  # a large file is known by its sha256
                digest = hashlib.sha256(server.files[path]).hexdigest()
                server.headers[path]["X-Linked-Etag"] = f'"{digest}"'
