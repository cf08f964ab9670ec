"""What went wrong between here and a server, in plain words."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from groundlake.llm.answers import ServerSaysError, load_object, server_says, shortened
from groundlake.llm.generation import CONNECTION, MALFORMED, TIMEOUT, TLS, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

HINTS = {
    400: "the server does not accept the request",
    401: "the server wants another API key",
    403: "the API key may not do this",
    404: "is the model's name right, and the path of the base URL? one without a path gets /v1",
    405: "is the path of the base URL right? one without a path gets /v1",
    429: "the server's limit is reached: fewer at a time, or a limit per minute, or more attempts",
}


def transport_failure(error: httpx2.HTTPError, url: str, status: int | None) -> Failure:
    """Return the failure that an error of the HTTP client stands for.

    Args:
        error: What the client raised.
        url: What was asked.
        status: Status of the answer, where it had begun.
    """
    import httpx2

    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    where = f"{parts.hostname}:{port}"
    if isinstance(error, httpx2.ConnectTimeout):
        return Failure(code=TIMEOUT, message=f"{where} did not take the connection in time", connected=False)
    if isinstance(error, httpx2.TimeoutException):
        return Failure(code=TIMEOUT, message=f"nothing came from {where} in time", status=status)
    if isinstance(error, httpx2.DecodingError):
        return Failure(code=MALFORMED, message=f"what {where} sent cannot be unpacked: {error}", status=status)
    causes = list(_causes(error))
    if isinstance(error, httpx2.ConnectError):
        return _connect_failure(causes, where)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Failure(code=TLS, message=f"the secure connection to {where} broke: {error}", status=status)
    words = str(error) or _system_words(causes) or type(error).__name__
    return Failure(code=CONNECTION, message=f"the connection to {where} broke: {words}", status=status)


def status_failure(status: int, reason: str, body: str, url: str) -> Failure:
    """Return the failure that an HTTP status stands for.

    Args:
        status: The status, none of success.
        reason: Its phrase.
        body: What came with it, or the beginning of that.
        url: What was asked.
    """
    lines = [f"{url}: {status} {reason}".rstrip()]
    said = _said(body)
    if said:
        lines.append(f"  the server says: {said}")
    hint = HINTS.get(status)
    if 300 <= status < 400:  # noqa: PLR2004 - redirections of HTTP
        hint = "the server sends elsewhere, which is not followed: give that address as the base URL"
    if hint:
        lines.append(f"  {hint}")
    return Failure(code=f"http_{status}", message="\n".join(lines), status=status)


def malformed_failure(error: Exception, status: int | None, kind: str, url: str) -> Failure:
    """Return the failure of what is no answer.

    Args:
        error: What is wrong with it, with its first words.
        status: Status of the HTTP answer.
        kind: Its content type; "" where it has none.
        url: What was asked.
    """
    lines = [f"{url}: what came ({kind or 'without a content type'}) is no answer of an OpenAI-compatible endpoint"]
    lines += [f"  {error}", "  is it the address of the API, or of a page, or of a proxy that wants a user to sign in?"]
    return Failure(code=MALFORMED, message="\n".join(lines), status=status)


def said_failure(error: ServerSaysError, status: int | None, url: str) -> Failure:
    """Return the failure of an error object in an answer that began well."""
    code = error.status or 500
    return Failure(code=f"http_{code}", message=f"{url}: the server broke off with an error: {error}", status=status)


def _connect_failure(causes: list[BaseException], where: str) -> Failure:
    """Return why there is no connection at all."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = f"the certificate of {where} is not trusted: {cause.verify_message or cause}"
            return Failure(code=TLS, message=words, connected=False)
        if isinstance(cause, ssl.SSLError):
            words = f"no secure connection to {where} ({cause.reason or cause}): does it speak http, not https?"
            return Failure(code=TLS, message=words, connected=False)
        if isinstance(cause, socket.gaierror):
            words = f"the name of {where} is not known: {cause.strerror or cause}"
            return Failure(code=CONNECTION, message=words, connected=False)
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            words = f"nothing listens at {where}: is the server running?"
            return Failure(code=CONNECTION, message=words, connected=False)
    words = f"no connection to {where}: {_system_words(causes) or causes[-1]}"
    return Failure(code=CONNECTION, message=words, connected=False)


def _system_words(causes: list[BaseException]) -> str:
    """Return what the operating system says; "" where it says nothing."""
    return next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield what led to an error, the first cause first."""
    if error is None:
        return
    yield from _causes(error.__cause__ or error.__context__)
    for member in getattr(error, "exceptions", ()):  # of an exception group: one for each address of a name
        yield from _causes(member)
    yield error


def _said(text: str) -> str:
    """Return what the body of an error says."""
    try:
        whole = load_object(text)
    except ValueError:
        return shortened(text)
    # `detail` is what FastAPI writes, and with it many servers; `message` at the top is an older vLLM.
    error = whole.get("error") or whole.get("detail") or whole.get("message")
    return str(server_says(error)) if error else shortened(text)
