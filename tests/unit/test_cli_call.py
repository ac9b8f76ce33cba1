"""URLs and answers of ``gemstone call``."""

import io

import pytest
import rich_click as click
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from gemstone_events.cli.call import endpoint_of, result_of
from gemstone_events.cli.command import Failure
from gemstone_events.rpc.errors import RpcError


def answer(body: bytes, code: int = 200, **headers: str) -> HTTPResponse:
    request = HTTPRequest("http://user:secret@127.0.0.1:8000/api")
    return HTTPResponse(request, code, HTTPHeaders(headers), io.BytesIO(body))


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/api"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/api"),
        ("https://[::1]:8000/rpc", "https://[::1]:8000/rpc"),
        ("http://shop.example?key=1", "http://shop.example/api?key=1"),
    ],
)
def test_a_url_without_a_path_gets_the_default_endpoint(given: str, endpoint: str) -> None:
    assert endpoint_of(given) == endpoint


@pytest.mark.parametrize("given", ["billing", "amqp://localhost", "http://", "http://host:port", "http://host:99999"])
def test_what_is_no_url_of_http_is_refused(given: str) -> None:
    with pytest.raises(click.UsageError, match="is no URL of a service"):
        endpoint_of(given)


@pytest.mark.parametrize(
    "body", [b'{"jsonrpc":"2.0","result":null,"id":"7"}', b'{"jsonrpc":"2.0","result":null,"error":null,"id":"7"}']
)
def test_a_result_is_taken_also_where_it_is_null(body: bytes) -> None:
    assert result_of(answer(body), "7") is None


def test_an_error_is_raised_with_all_that_it_says_even_without_the_id() -> None:
    body = b'{"jsonrpc":"2.0","error":{"code":1001,"message":"Out of stock","data":{"left":0}},"id":null}'
    with pytest.raises(RpcError) as caught:
        result_of(answer(body), "7")
    assert caught.value.to_dict() == {"code": 1001, "message": "Out of stock", "data": {"left": 0}}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (answer(b'{"jsonrpc":"2.0","result":1,"id":"8"}'), "HTTP 200"),
        (answer(b'{"result":1,"id":"7"}'), "HTTP 200"),
        (answer(b"[]"), "HTTP 200"),
        (
            answer(b"<h1>not\nhere</h1>", 404, **{"Content-Type": "text/html"}),
            r"gave no JSON-RPC answer: HTTP 404 Not Found: it sent text/html$",
        ),
        (answer(b"", 501), "HTTP 501 Not Implemented: it sent nothing$"),
        (answer(b"", 301, Location="https://shop.example"), "HTTP 301 Moved Permanently: it moved to https://shop.ex"),
        (answer(b"x", **{"Content-Type": "a\x1b[31m"}), r"HTTP 200 OK: it sent a\\x1b\[31m$"),
    ],
)
def test_what_is_no_answer_to_the_call_is_a_failure_that_shows_no_password(response: HTTPResponse, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as caught:
        result_of(response, "7")
    assert "secret" not in str(caught.value.message)
