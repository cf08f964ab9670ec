"""The address of an endpoint, and what opens it."""

from __future__ import annotations

import pytest

from groundlake.errors import UsageError
from groundlake.llm.address import base_address, is_loopback, require_headers


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("https://host/api/v3", "https://host/api/v3"),
        (" http://[::1]:8000 ", "http://[::1]:8000/v1"),
    ],
)
def test_an_address_without_a_path_gets_v1(given: str, expected: str) -> None:
    assert base_address(given) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("localhost:8000", "must begin with http:// or https://"),
        ("ftp://host", "must begin with http:// or https://"),
        ("http://", "must begin with http:// or https://"),
        ("", "must begin with http:// or https://"),
        ("http://host:port", "Port could not be cast"),
        ("http://host/v1/chat/completions", "goes without /chat/completions"),
        ("http://host/v1/models/", "goes without /models"),
        ("http://host/v1?key=SECRET", "leave out what follows"),
        ("http://me:SECRET@host/v1", "give a key as api_key"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(given: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        base_address(given)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *(("http://127.0.0.1:1/v1", True), ("http://[::1]/v1", True), ("http://localhost/v1", True)),
        *(("https://api.example.org/v1", False), ("http://10.0.0.1/v1", False)),
    ],
)
def test_this_machine_is_known(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize("key", ["", "SECRET\n", "SEC RET", "SECRÉT"])
def test_a_key_that_no_header_may_have_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(UsageError, match="API key") as raised:
        require_headers(key, {})
    assert "SEC" not in str(raised.value)


@pytest.mark.parametrize("header", [{"X-Key": "SECRET\r\nHost: x"}, {"X Key": "SECRET"}, {"X-Key": ""}])
def test_a_header_that_cannot_be_sent_is_refused_without_showing_it(header: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="header") as raised:
        require_headers(None, header)
    assert "SECRET" not in str(raised.value)


def test_keys_and_headers_as_they_are_usual_are_fine() -> None:
    require_headers("sk-abc_DEF.123~/+=", {"X-Title": "a b", "api-key": "0"})
