"""Hostile JSON-RPC: known attacks, what Hypothesis makes of documents, and what may come back."""

import json
import random

from hypothesis import strategies as st

CODES = {-32700, -32600, -32601, -32602, -32603, -32001}


def _call(**members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "echo", "params": [1], "id": 1, **members}).encode()


CORPUS = [
    b"", b" ", b"\x00", b"{", b"[", b"null", b"true", b"0", b'""', b"{}", b"[]", b"[[]]", b"[{}]", b"[null]",
    _call()[:-1], _call()[:20], _call() + b"x", _call() + _call(),
    b"\xef\xbb\xbf" + _call(), _call().decode().encode("utf-16"), _call().decode().encode("utf-32"), b"\xff\xfe\xfd",
    b'{"jsonrpc":"2.0","method":"echo","params":[NaN],"id":1}',
    b'{"jsonrpc":"2.0","method":"echo","params":[Infinity],"id":1}',
    b'{"jsonrpc":"2.0","method":"echo","params":[-Infinity],"id":1}',
    b'{"jsonrpc":"2.0","method":"echo","params":[1e999],"id":1}',
    b'{"jsonrpc":"2.0","method":"echo","params":[' + b"9" * 5000 + b'],"id":1}',
    b'{"jsonrpc":"2.0","method":"echo","params":[1],"id":' + b"9" * 5000 + b"}",
    b'{"jsonrpc":"2.0","jsonrpc":"2.0","method":"echo","id":1}',
    b'{"jsonrpc":"2.0","method":"echo","params":{"x":1,"x":2},"id":1}',
    b'{"jsonrpc":"2.0","method":"echo","params":["\\ud800"],"id":1}',
    b'{"jsonrpc":"2.0","method":"\\udfff","params":[],"id":"\\ud800"}',
    b'{"jsonrpc":"2.0","method":"echo","params":["\xed\xa0\x80"],"id":1}',
    b'{"jsonrpc":"2.0","method":"echo\\u0000","params":["\\u0000"],"id":"\\u0000"}',
    b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000,
    b'{"jsonrpc":"2.0","method":"echo","params":[' + b"[" * 40 + b"]" * 40 + b'],"id":1}',
    _call(params=["x" * 1_000_000]), _call(id="x" * 1_000_000), _call(method="x" * 1_000_000),
    *(_call(jsonrpc=value) for value in (None, 2, 2.0, "1.0", [], {}, True)),
    *(_call(method=value) for value in (None, 1, 1.5, [], {}, True, "", "__init__", "rpc.discover", "a.b.c", "écho")),
    *(_call(params=value) for value in (None, 1, 1.5, "x", True, {}, [], {"self": 1}, {"x": 1, "y": 2}, [1, 2, 3])),
    *(_call(id=value) for value in (None, 0, -1, 1.5, 1e300, [], {}, True, False, "", "é", 2**63, 2**64)),
    _call(extra=1, result=2, error=3), b'{"jsonrpc":"2.0","method":"echo"}',
    json.dumps([{"jsonrpc": "2.0", "method": "echo", "params": [i], "id": i} for i in range(50)]).encode(),
    json.dumps([{"jsonrpc": "2.0", "method": "echo", "params": [i], "id": i} for i in range(51)]).encode(),
    json.dumps([{"jsonrpc": "2.0", "method": "echo", "params": [i]} for i in range(3)]).encode(),
    json.dumps([[{"jsonrpc": "2.0", "method": "echo", "params": [1], "id": 1}], 1, None, {}]).encode(),
    *(_call(method=name) for name in ("explode", "secret", "unspeakable", "exact", "handler")),
]  # fmt: skip

SHORT = [sample for sample in CORPUS if len(sample) < 1000]

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
_METHODS = ["echo", "exact", "explode", "secret", "unspeakable", "handler", "missing", "__init__", "rpc.x", "a.b"]
_request = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | st.just("2.0") | _json,
        "method": st.sampled_from(_METHODS) | _json,
        "params": st.lists(_json, max_size=3) | st.dictionaries(st.sampled_from("abx"), _json, max_size=3) | _json,
        "id": st.integers() | st.text(max_size=4) | _json,
        "extra": _json,
    },
)
documents = _request | _json | st.lists(_request | _json, max_size=6)


INPUTS_PER_EXAMPLE = 10


def variants(document: object, seed: int) -> list[bytes]:
    """Return a generated document as it is, and what becomes of it, and of a known attack, on a bad day."""
    rng = random.Random(seed)
    plain = json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")
    escaped = json.dumps(document).encode()
    bodies = [plain, escaped, b"[" + plain + b"]", b"[" + escaped + b"," + _call(id=seed) + b"]"]
    bodies += [
        escaped[: rng.randrange(len(escaped) + 1)],
        plain.replace(b'"', b"", 1),
        rng.randbytes(rng.randrange(60)),
    ]
    while len(bodies) < INPUTS_PER_EXAMPLE:
        bodies.append(_damaged(rng.choice([escaped, *SHORT]), rng))
    return bodies


def _damaged(sample: bytes, rng: random.Random) -> bytes:
    raw = bytearray(sample)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(raw))
        raw[at : at + rng.randint(0, 3)] = rng.choice([b'"', b"{", b"]", b",", b"\\", b"[", b"1e999", rng.randbytes(2)])
    return bytes(raw)


def check_response(response: object) -> None:
    assert isinstance(response, dict)
    assert response["jsonrpc"] == "2.0"
    assert set(response) in ({"jsonrpc", "result", "id"}, {"jsonrpc", "error", "id"})
    assert response["id"] is None or type(response["id"]) in (int, str)
    if "error" in response:
        assert response["error"]["code"] in CODES
        assert isinstance(response["error"]["message"], str)


def check_answer(answer: bytes | None) -> None:
    if answer is None:
        return
    assert b"Token" not in answer
    assert b"Traceback" not in answer
    value = json.loads(answer)
    if isinstance(value, list):
        assert value
        for response in value:
            check_response(response)
    else:
        check_response(value)
