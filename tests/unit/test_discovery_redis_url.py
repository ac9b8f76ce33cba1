"""URLs of Redis servers."""

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.discovery.redis_strategy import RedisDiscoveryStrategy
from gemstone_events.rpc.discovery.redis_url import parse_redis_url


def test_a_url_is_read_with_its_credentials_and_shown_without() -> None:
    server = parse_redis_url("redis://ada:p%40ss@redis.example:6380/2")
    assert (server.host, server.port, server.database) == ("redis.example", 6380, 2)
    assert (server.user, server.password) == ("ada", "p@ss")
    assert (server.address, server.is_local) == ("redis://redis.example:6380/2", False)
    assert "p@ss" not in repr(server)


def test_port_and_database_may_be_left_out() -> None:
    assert parse_redis_url("redis://localhost").address == "redis://localhost:6379/0"
    assert parse_redis_url("redis://[::1]/").address == "redis://[::1]:6379/0"


def test_a_socket_is_local() -> None:
    server = parse_redis_url("unix:///run/redis.sock?db=3")
    assert (server.path, server.database, server.address) == ("/run/redis.sock", 3, "unix:///run/redis.sock")
    assert server.is_local


def test_tls_is_always_verified() -> None:
    server = parse_redis_url("rediss://redis.example?cafile=/etc/ca.pem")
    options = server.client(1.0).connection_pool.connection_kwargs
    assert options["ssl_cert_reqs"] == "required"
    assert options["ssl_check_hostname"] is True
    assert options["ssl_ca_certs"] == "/etc/ca.pem"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://localhost:6379/0", "none of redis, rediss and unix"),
        ("localhost:6379", "none of redis, rediss and unix"),
        ("redis:///0", "names no host"),
        ("redis://host:port/0", "cannot be read"),
        ("redis://[host/0", "cannot be read"),
        ("redis://host/zero", "database is no number"),
        ("redis://host/0#x", "fragment"),
        ("redis://host/0?cafile=/ca.pem", "option 'cafile' is unknown"),
        ("rediss://host/0?ssl_cert_reqs=none", "option 'ssl_cert_reqs' is unknown"),
        ("rediss://host/0?ssl_check_hostname=False", "option 'ssl_check_hostname' is unknown"),
        ("rediss://host/0?keyfile=/key.pem", "needs 'certfile'"),
        ("rediss://host/0?cafile=", "empty or given twice"),
        ("rediss://host/0?cafile=/a.pem&cafile=/b.pem", "empty or given twice"),
        ("unix:///run/redis.sock?cafile=/a.pem", "option 'cafile' is unknown"),
        ("unix://run/redis.sock", "absolute path"),
        ("unix://", "absolute path"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error_that_says_why_and_shows_no_password(url: str, why: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=why) as caught:
        RedisDiscoveryStrategy(url.replace("://", "://ada:secret@"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_time_to_live_that_cannot_be_is_refused(seconds: float) -> None:
    with pytest.raises(ServiceConfigurationError, match="time_to_live"):
        RedisDiscoveryStrategy("redis://localhost", seconds)
