"""An OpenAI-compatible server on loopback, for tests: real HTTP, real streams, and every way to go wrong on request."""

from __future__ import annotations

import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from typing_extensions import Self

MODEL = "test-model"
WORDS = ("the ", "quick ", "brown ", "fox ", "jumps ", "over ", "the ", "lazy ", "dog ")


@dataclass(kw_only=True)
class Reply:
    """What the server sends for one request.

    `ending`: `whole` ends the answer as HTTP has it; `cut` closes the connection before; `reset` breaks it; `drop`
    breaks it before anything was sent; `hang` says nothing more until the client leaves or the server ends.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    ending: Literal["whole", "cut", "reset", "drop", "hang"] = "whole"


def event(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode() + b"\n\n"


def chunk(text: str | None = None, *, chat: bool = True, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk of a stream."""
    said: dict[str, Any] = {"delta": {} if text is None else {"content": text}} if chat else {"text": text or ""}
    return {"id": "1", "model": MODEL, "choices": [{"index": 0, **said, "finish_reason": finish}], **fields}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}


def events_of(
    texts: list[str], *, chat: bool = True, finish: str = "stop", counted: dict[str, Any] | None = None
) -> list[bytes]:
    """The events of a whole stream: the role, each text, the finish reason, the usage, the end."""
    role = [event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})] if chat else []
    counts = [event({"choices": [], "usage": counted})] if counted else []
    texts_ = [event(chunk(text, chat=chat)) for text in texts]
    return [*role, *texts_, event(chunk(chat=chat, finish=finish)), *counts, event("[DONE]")]


def stream(pieces: list[bytes], **fields: Any) -> Reply:
    return Reply(headers={"Content-Type": "text/event-stream"}, pieces=pieces, **fields)


def whole(value: object, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(
        status=status, headers={"Content-Type": "application/json", **named}, pieces=[json.dumps(value).encode()]
    )


def error(status: int, message: str = "no", **headers: str) -> Reply:
    return whole({"error": {"message": message, "type": "some_error", "code": status}}, status, **headers)


@dataclass
class Received:
    """One request, as the server saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class LlmServer:
    """A server within `with`. It answers with `tokens` words, unless `replies` holds what comes first.

    Attributes:
        received: All requests for answers so far.
        busiest: Most requests that were being answered at a time.
        connections: Connections that were made.
        left: How often a client went away before its answer was complete.
        meet: So many requests have to be there before any of them is answered; 1 answers at once.
    """

    def __init__(self, *replies: Reply, tokens: int = 5, meet: int = 1) -> None:
        self.replies = list(replies)
        self.tokens = tokens
        self.received: list[Received] = []
        self.busiest = self.connections = self.left = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._met = threading.Barrier(meet)
        self._closing = threading.Event()
        self.is_left = threading.Event()
        self.is_busy = threading.Event()

    def __enter__(self) -> Self:
        server = self

        class Handler(_Handler):
            owner = server

        class Http(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes away is no news."""

        self._http = Http(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._met.abort()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def take(self, received: Received) -> Reply:
        with self._lock:
            self.received.append(received)
            reply = self.replies.pop(0) if self.replies else None
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        self.is_busy.set()
        self._met.wait()
        return reply or self.answer(received)

    def answer(self, received: Received) -> Reply:
        """A whole answer, as long as may be."""
        body, chat = received.body, received.path.endswith("/chat/completions")
        count = min(self.tokens, body.get("max_tokens", self.tokens))
        texts = [WORDS[i % len(WORDS)] for i in range(count)]
        finish = "stop" if count == self.tokens else "length"
        prompt = " ".join(message["content"] for message in body["messages"]) if chat else body["prompt"]
        counted = usage(len(prompt.split()), count)
        if body.get("stream"):
            wanted = (body.get("stream_options") or {}).get("include_usage")
            return stream(events_of(texts, chat=chat, finish=finish, counted=counted if wanted else None))
        said = {"message": {"role": "assistant", "content": "".join(texts)}} if chat else {"text": "".join(texts)}
        return whole({"choices": [{"index": 0, **said, "finish_reason": finish}], "usage": counted})

    def release(self, *, left: bool) -> None:
        with self._lock:
            self._busy -= 1
            self.left += left
        if left:
            self.is_left.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: LlmServer

    def setup(self) -> None:
        super().setup()
        with self.owner._lock:
            self.owner.connections += 1

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(whole({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
        else:
            self._send(error(404, "no such path"))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            self._send(error(404, "no such path"))
            return
        left = True
        reply = self.owner.take(Received(self.path, dict(self.headers), body))
        try:
            left = self._send(reply)
        except OSError:
            self.close_connection = True
        finally:
            self.owner.release(left=left)

    def _send(self, reply: Reply) -> bool:
        """Send a reply; return whether the client left before its end."""
        if reply.ending == "drop":
            return self._break()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in reply.pieces:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if reply.ending == "whole":
            self.wfile.write(b"0\r\n\r\n")
            return False
        if reply.ending == "reset":
            return self._break()
        self.close_connection = True
        return self._hang() if reply.ending == "hang" else False

    def _break(self) -> bool:
        """Reset the connection; the client has not left it."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        return False

    def _hang(self) -> bool:
        """Wait until the client leaves (then it can be read that nothing comes) or the server ends."""
        self.connection.settimeout(0.02)
        while not self.owner._closing.is_set():
            try:
                if self.connection.recv(1) == b"":
                    return True
            except TimeoutError:
                continue
        return False
