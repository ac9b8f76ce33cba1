"""The service manager: services by their interfaces, wherever they run."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self, TypeVar, cast

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.addresses import ChannelInstances
from gemstone_events.management.channels import LOCAL, Channel, ChannelManager
from gemstone_events.management.component import AbstractComponent, Component, ComponentStatus
from gemstone_events.management.descriptors import ComponentDescriptor, ServiceDescriptor, service_descriptor
from gemstone_events.management.health import CheckResult, Health, HealthCheckManager, HealthStatus, holds_health_checks
from gemstone_events.management.implementations import Implementations
from gemstone_events.management.injection import inject
from gemstone_events.management.proxies import make_proxy
from gemstone_events.management.registry import ComponentRegistry
from gemstone_events.rpc.call_errors import LocalServiceException, ServiceNotFoundError, ServiceUnreachableError
from gemstone_events.rpc.client.async_call import AsyncMethodCall, is_on_loop
from gemstone_events.rpc.client.caller import Wires
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.health import HealthReport
from gemstone_events.rpc.methods import Method
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

T = TypeVar("T")
