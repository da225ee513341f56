"""The page of scripts/try_it.py and its requests, answered to this machine or a token alone.

A page of another site can make a browser send requests here, even under a name of its own that
leads to this machine. So the Host must be an address of this machine, and what the browser tells of
the sender (Origin, Sec-Fetch-Site) must be the page itself.
"""

from __future__ import annotations

import contextlib
import hmac
import http.client
import mimetypes
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from tornado import web
from tornado.iostream import StreamClosedError

from scripts.trying.photographs import WORKING, Busy, Photographs, Result, Upload
from util.errors import UserError, first_line

OF_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
PIECE_BYTES = 1 << 20
BYTES = "application/octet-stream"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # the browser keeps no photographs either
}


class Refused(web.HTTPError):
    """A request that is answered with one line."""

    def __init__(self, status: int, line: str):
        super().__init__(status)
        self.line = line


@dataclass
class Door:
    """What a request meets.

    Attributes:
        texts: what lies at an address, such as /script.js, with its type.
        token: is asked for; '' if the server listens to this machine alone.
        cookie: holds the token in browsers.
        max_bytes: of an upload.
        ways: the choices of full_size.
    """

    photographs: Photographs
    texts: Mapping[str, tuple[str, str]]
    token: str
    cookie: str
    max_bytes: int
    ways: tuple[str, ...]


def application(door: Door) -> web.Application:
    own = {"door": door}
    return web.Application(
        [
            (r"(/|/[a-z_]+\.(?:css|js))", Text, own),
            (r"/photographs", List, own),
            (r"/photographs/(\d{1,9})", One, own),
            (r"/photographs/(\d{1,9})/preview", Preview, own),
            (r"/photographs/(\d{1,9})/(\d{1,9})/(preview|file)", ResultFile, own),
        ],
        default_handler_class=Nothing,
        default_handler_args=own,
        log_function=lambda handler: None,  # no line for each request
    )


@web.stream_request_body  # so that no body is kept in the memory
class Handler(web.RequestHandler):
    """Refuses strangers, and answers errors with one line."""

    def initialize(self, door: Door) -> None:
        self.door, self.photographs = door, door.photographs

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        host = self.request.headers.get("Host", "")
        name = hostname(host)
        local = self.request.connection.stream.socket.getsockname()[0]  # type: ignore[union-attr]
        known = OF_THIS_MACHINE + ((local.removeprefix("::ffff:"),) if self.door.token else ())
        if name not in known:
            raise Refused(403, "this address is not one of this program: use the one it printed")
        if self.door.token and not self.has_token():
            raise Refused(403, "open the whole address that the program printed, with its token")
        origin = self.request.headers.get("Origin")
        sender = self.request.headers.get("Sec-Fetch-Site", "none")
        if origin not in (None, f"{self.request.protocol}://{host}") or not (
            sender in ("none", "same-origin") or self.is_link()
        ):
            raise Refused(403, "pages of other sites may not use this program")

    def is_link(self) -> bool:
        """Whether a link has led to the page, which shows the sender nothing of it."""
        mode = self.request.headers.get("Sec-Fetch-Mode")
        return (self.request.method, self.request.path, mode) == ("GET", "/", "navigate")

    def has_token(self) -> bool:
        given = self.get_query_argument("token", "") or self.get_cookie(self.door.cookie, "")
        return hmac.compare_digest((given or "").encode(), self.door.token.encode())

    def data_received(self, chunk: bytes) -> None:
        """Nothing but an upload has a body."""

    def write_error(self, status_code: int, **more: Any) -> None:
        error = more.get("exc_info", (None, None))[1]
        told = http.client.responses.get(status_code, "error").lower()
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(error.line if isinstance(error, Refused) else told)

    def upload(self, number: str) -> Upload:
        found = self.photographs.uploads.get(int(number))
        if found is None:
            raise Refused(404, "this photograph was removed")
        return found

    def chosen(self) -> tuple[str, str]:
        """The checkpoint and full_size that a request asks for."""
        full_size = self.get_query_argument("full_size")
        if full_size not in self.door.ways:
            raise Refused(400, f"full_size can be {', '.join(self.door.ways)}")
        return self.get_query_argument("epoch"), full_size

    async def send(self, file: Path | None, type_: str | None = None) -> None:
        if file is None:
            raise Refused(404, "not there yet")
        try:
            content = open(file, "rb")  # noqa: SIM115 - below
        except OSError:
            raise Refused(404, "this photograph was removed") from None
        with content:
            self.set_header("Content-Type", type_ or mimetypes.guess_type(file)[0] or BYTES)
            self.set_header("Content-Length", file.stat().st_size)
            with contextlib.suppress(StreamClosedError):  # the browser needs no more
                while piece := content.read(PIECE_BYTES):
                    self.write(piece)
                    await self.flush()


class Nothing(Handler):
    def prepare(self) -> None:
        super().prepare()
        raise web.HTTPError(404)


class Text(Handler):
    """The page, its style and script."""

    def get(self, address: str) -> None:
        if address not in self.door.texts:
            raise web.HTTPError(404)
        if address == "/" and self.get_query_argument("token", ""):  # out of sight, into a cookie
            self.set_cookie(self.door.cookie, self.door.token, httponly=True, samesite="Lax")
            self.redirect("/")
            return
        kind, text = self.door.texts[address]
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.finish(text)


class List(Handler):
    """All photographs; and uploads, whose body is the file."""

    received: Upload | None = None
    file: IO[bytes] | None = None
    refusal: Refused | None = None  # told at the end of the body: only then do browsers listen
    num_bytes = 0

    def get(self) -> None:
        uploads = [u for u in self.photographs.uploads.values() if u.is_whole]
        told = [told_of(upload) for upload in uploads]
        self.finish({"labels": self.photographs.labels(), "photographs": told})

    def prepare(self) -> None:
        super().prepare()
        if self.request.method != "POST":
            return
        self.chosen()
        length = self.request.headers.get("Content-Length", "0")
        if not re.fullmatch(r"\d{1,18}", length):
            raise web.HTTPError(400)
        self.count(int(length))
        if self.refusal is None:
            try:
                self.received = self.photographs.begin(self.get_query_argument("name", ""))
                self.file = open(self.received.file, "wb")  # noqa: SIM115 - over several calls
            except (UserError, OSError) as error:
                self.refuse(503, first_line(error))

    def data_received(self, chunk: bytes) -> None:
        if self.file is None:
            return
        self.num_bytes += len(chunk)
        self.count(self.num_bytes)
        try:
            if self.file:
                self.file.write(chunk)
        except OSError as error:  # such as a full disk
            self.refuse(507, first_line(error))

    def post(self) -> None:
        if self.refusal is None and not self.num_bytes:
            self.refuse(400, "the file is empty")
        if self.refusal:
            raise self.refusal
        assert self.received and self.file
        self.file.close()
        self.received.is_whole = True  # its place among the unfinished is now that of its result
        begin(self.photographs, self.received, *self.chosen())
        received, self.received = self.received, None
        self.finish(told_of(received))

    def count(self, num_bytes: int) -> None:
        if num_bytes > self.door.max_bytes:
            most = f"{self.door.max_bytes / 1e6:g}"
            self.refuse(413, f"the file has more than {most} MB (--max_upload_mb {most})")

    def refuse(self, status: int, line: str) -> None:
        self.refusal = self.refusal or Refused(status, line)
        self.drop()

    def drop(self) -> None:
        """Forget what has arrived so far, unless it was all."""
        if self.file:
            self.file.close()
            self.file = None
        if self.received:
            self.photographs.remove(self.received)
            self.received = None

    def write_error(self, status_code: int, **more: Any) -> None:
        self.drop()
        super().write_error(status_code, **more)

    def on_connection_close(self) -> None:
        self.drop()


class One(Handler):
    """A photograph: another result of it, and its end."""

    def post(self, number: str) -> None:
        upload = self.upload(number)
        begin(self.photographs, upload, *self.chosen())
        self.finish(told_of(upload))

    def delete(self, number: str) -> None:
        self.photographs.remove(self.upload(number))
        self.finish({})


class Preview(Handler):
    async def get(self, number: str) -> None:
        await self.send(self.upload(number).preview)


class ResultFile(Handler):
    async def get(self, number: str, index: str, what: str) -> None:
        results = self.upload(number).results
        if int(index) >= len(results):
            raise web.HTTPError(404)
        result = results[int(index)]
        if what == "preview":
            await self.send(result.preview)
            return
        name = quote(result.name, safe="")
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        await self.send(result.file)


def begin(photographs: Photographs, upload: Upload, epoch: str, full_size: str) -> None:
    try:
        photographs.translate(upload, epoch, full_size)
    except (UserError, OSError) as error:
        raise Refused(503 if isinstance(error, Busy) else 400, first_line(error)) from None


def told_of(upload: Upload) -> dict[str, Any]:
    """A photograph as the page sees it."""
    place = f"photographs/{upload.number}"
    return {
        "number": upload.number,
        "name": upload.name,
        "size": upload.size,
        "preview": f"{place}/preview" if upload.preview else None,
        "results": [told_of_result(r, f"{place}/{i}") for i, r in enumerate(upload.results)],
    }


def told_of_result(result: Result, place: str) -> dict[str, Any]:
    is_working = result.state == WORKING
    return {
        "epoch": result.epoch,
        "fullSize": result.full_size,
        "state": result.state,
        "way": result.way,
        "why": result.why,
        "line": result.line,
        "seconds": time.time() - result.began_s if is_working else result.seconds,
        "name": result.name,
        "file": f"{place}/file" if result.file else None,
        "preview": f"{place}/preview" if result.preview else None,
    }


def hostname(host: str) -> str:
    """Without the port and, of IPv6, without brackets; '' if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
