"""What a service needs that hosts components, besides its ``ServiceManager``."""

from collections.abc import Sequence

from gemstone_events import strict_json
from gemstone_events.management.component import Component
from gemstone_events.management.presence_registry import PresenceComponentRegistry
from gemstone_events.management.registry import ComponentRegistry, LocalComponentRegistry
from gemstone_events.rpc.discovery.allow_list import AllowList
from gemstone_events.rpc.http_handlers import GemstoneCustomHandler


def default_registry(
    brokers: Sequence[str], namespace: str = "gemstone", allow: AllowList | None = None
) -> ComponentRegistry:
    """Return the registry of a service that names none: the presence of services on its first broker or bus.

    Args:
        brokers: URLs of the brokers and buses by which the service is called, with credentials.
        namespace: the service's.
        allow: which addresses off these brokers may be called; by default HTTP on this machine.
    """
    if not brokers:
        return LocalComponentRegistry()
    return PresenceComponentRegistry(brokers[0], namespace, brokers=brokers[1:], allow=allow)


class ComponentHealthHandler(GemstoneCustomHandler):
    """Shows the health of one component: 200, 429 or 500 for OK, WARNING and ERROR, and what the checks found."""

    component: Component
    registry: ComponentRegistry

    async def get(self) -> None:
        """Run the component's health checks, and answer with what they found."""
        health = await self.component.get_health()
        self.set_status(self.registry.map_health(health.status))
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(strict_json.dumps(health.to_dict()))


def health_page(component: Component, registry: ComponentRegistry) -> type[GemstoneCustomHandler]:
    """Return the handler that shows a component's health."""
    return type("ComponentHealthHandler", (ComponentHealthHandler,), {"component": component, "registry": registry})
