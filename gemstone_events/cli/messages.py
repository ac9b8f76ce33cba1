"""Messages as commands show them."""

import base64

from gemstone_events import strict_json
from gemstone_events.logs import printable
from gemstone_events.message import Message
from gemstone_events.strict_json import JsonValue


def structured(message: Message) -> dict[str, JsonValue]:
    """Return a message in the JSON format of CloudEvents 1.0 (section 3), with ``broadcast`` as an extension.

    A body that is not strict JSON is in ``data_base64`` (section 3.1.1), whatever ``datacontenttype`` says.
    """
    attributes: dict[str, JsonValue] = {**message.attributes, "broadcast": message.broadcast}
    try:
        return {**attributes, "data": strict_json.loads(message.body)}
    except ValueError:
        return {**attributes, "data_base64": base64.b64encode(message.body).decode()}


def body_line(message: Message) -> str:
    """Return a message's body on one line, fit for a terminal: compact JSON, or what else it is."""
    try:
        return printable(strict_json.dumps(strict_json.loads(message.body)).decode())
    except ValueError:
        return printable(message.body.decode(errors="backslashreplace"))
