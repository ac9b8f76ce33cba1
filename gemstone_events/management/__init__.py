"""Typed services: interfaces, components that implement them, and proxies that call them wherever they run."""

from gemstone_events.management.addresses import ChannelAddress, ChannelInstances
from gemstone_events.management.channel import Channel, channel
from gemstone_events.management.channels import (
    DEFAULT_CHANNELS,
    AmqpChannel,
    BusChannel,
    ChannelFactory,
    ChannelManager,
    HttpChannel,
)
from gemstone_events.management.component import AbstractComponent, Component, ComponentStatus
from gemstone_events.management.declarations import component, health, idempotent, implementation, service
from gemstone_events.management.descriptors import BaseDescriptor, ComponentDescriptor, Service, ServiceDescriptor
from gemstone_events.management.health import (
    CheckReport,
    CheckResult,
    Health,
    HealthCheckManager,
    HealthStatus,
    health_check,
    health_checks,
)
from gemstone_events.management.hosting import ComponentHost, default_registry
from gemstone_events.management.injection import ServiceInstanceProvider, inject_service
from gemstone_events.management.manager import ServiceManager
from gemstone_events.management.presence_registry import PresenceComponentRegistry
from gemstone_events.management.registry import ComponentRegistry, LocalComponentRegistry
from gemstone_events.management.url_selectors import (
    FirstURLSelector,
    LeastPendingURLSelector,
    RoundRobinURLSelector,
    URLSelector,
)
from gemstone_events.rpc.call_errors import (
    LocalServiceException,
    RemoteServiceError,
    RemoteServiceException,
    ServiceCommunicationException,
    ServiceException,
)

__all__ = [
    "DEFAULT_CHANNELS",
    "AbstractComponent",
    "AmqpChannel",
    "BaseDescriptor",
    "BusChannel",
    "Channel",
    "ChannelAddress",
    "ChannelFactory",
    "ChannelInstances",
    "ChannelManager",
    "CheckReport",
    "CheckResult",
    "Component",
    "ComponentDescriptor",
    "ComponentHost",
    "ComponentRegistry",
    "ComponentStatus",
    "FirstURLSelector",
    "Health",
    "HealthCheckManager",
    "HealthStatus",
    "HttpChannel",
    "LeastPendingURLSelector",
    "LocalComponentRegistry",
    "LocalServiceException",
    "PresenceComponentRegistry",
    "RemoteServiceError",
    "RemoteServiceException",
    "RoundRobinURLSelector",
    "Service",
    "ServiceCommunicationException",
    "ServiceDescriptor",
    "ServiceException",
    "ServiceInstanceProvider",
    "ServiceManager",
    "URLSelector",
    "channel",
    "component",
    "default_registry",
    "health",
    "health_check",
    "health_checks",
    "idempotent",
    "implementation",
    "inject_service",
    "service",
]
