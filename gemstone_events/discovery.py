"""What discovery offers to authors of services, in one place; apart from ``gemstone_events``, for it brings Redis along."""

from gemstone_events.registry import ServiceRegistry
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.call_errors import ServiceNotLocatedError
from gemstone_events.rpc.discovery.broker_strategy import BrokerDiscoveryStrategy
from gemstone_events.rpc.discovery.cache import DummyCache, ServiceDiscoveryCache
from gemstone_events.rpc.discovery.http_strategy import HttpDiscoveryStrategy, registry_key
from gemstone_events.rpc.discovery.redis_strategy import RedisDiscoveryStrategy
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy

__all__ = [
    "AllowList",
    "BaseDiscoveryStrategy",
    "BrokerDiscoveryStrategy",
    "DummyCache",
    "HttpDiscoveryStrategy",
    "RedisDiscoveryStrategy",
    "ServiceDiscoveryCache",
    "ServiceNotLocatedError",
    "ServiceRegistry",
    "registry_key",
]
