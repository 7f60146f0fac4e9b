"""A web server on this machine that offers files, and can be told to behave badly."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """What a server offers and how, and what it was asked for.

    Attributes:
        files: by path.
        ranges: whether it sends parts of files.
        breaks_off: for every answer in turn, after how many bytes the connection is cut; None for not at all.
        status: other than that of success, for every answer in turn.
        pause: seconds before every answer.
        drip: seconds after every byte of one.
        moved: address that every answer refers to.
        asked: path and ``Range`` header of every request.
    """

    files: dict[str, bytes]
    ranges: bool = True
    breaks_off: list[int | None] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    pause: float = 0.0
    drip: float = 0.0
    moved: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""

    def url(self, path: str) -> str:
        """Where a file is."""
        return f"{self.address}/{path}"


@contextmanager
def serving(web: Web) -> Iterator[Web]:
    """A server at ``web.address``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, wanted = self.path.lstrip("/"), self.headers.get("Range")
            web.asked.append((path, wanted))
            threading.Event().wait(web.pause)
            if web.status:
                self.send_error(web.status.pop(0))
                return
            if web.moved:
                self.send_response(302)
                self.send_header("Location", web.moved)
                self.end_headers()
                return
            if path not in web.files:
                self.send_error(404)
                return
            content, start = web.files[path], 0
            if web.ranges and wanted and (match := re.fullmatch(r"bytes=(\d+)-", wanted)):
                start = int(match[1])
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = web.breaks_off.pop(0) if web.breaks_off else None
            sent = content[start:] if end is None else content[start : start + end]
            pieces = (sent[at : at + 1] for at in range(len(sent))) if web.drip else [sent]
            for piece in pieces:
                self.wfile.write(piece)
                threading.Event().wait(web.drip)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    web.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
