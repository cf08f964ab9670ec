"""The address of an endpoint, and the key that opens it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

RESOURCES = ("/chat/completions", "/completions", "/models")


def base_address(base_url: str) -> str:
    """Return the address below which the resources of the API lie, without a slash at its end.

    An address without a path gets `/v1`, where servers have the API; a path that is given is taken as it is.

    Raises:
        UsageError: It is no such address; the message does not repeat what may be a secret.
    """
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"the base URL of the endpoint is none: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError("the base URL of the endpoint holds a user or a password: give a key as api_key instead")
    if parts.query or parts.fragment:
        raise UsageError("the base URL of the endpoint ends with its path: leave out what follows ? or #")
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(
            f"the base URL of the endpoint must begin with http:// or https:// and a host, got {base_url!r}\n"
            "  for example http://127.0.0.1:8000 or http://127.0.0.1:8000/v1"
        )
    path = parts.path.rstrip("/")
    for resource in RESOURCES:
        if path.endswith(resource):
            raise UsageError(f"the base URL of the endpoint goes without {resource}, got {base_url!r}")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def is_loopback(address: str) -> bool:
    """Whether the address is of this machine, which no proxy needs to fetch from."""
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def require_headers(api_key: str | None, headers: Mapping[str, str]) -> None:
    """Raise unless these can be sent. No message shows a key or the value of a header.

    Raises:
        UsageError: A key or a header is empty, or holds a line end or another character that no header may have.
    """
    if api_key is not None and not (api_key and all("!" <= character <= "~" for character in api_key)):
        raise UsageError(
            f"the API key of the endpoint is none: {len(api_key)} characters, which must be printable ASCII "
            "without blanks\n  was a line end copied along with it?"
        )
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value):
            raise UsageError(f"header {name!r} of the endpoint cannot be sent: its name or value has unfit characters")
