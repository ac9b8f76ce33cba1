"""Taking the URLs of wires apart."""

from urllib.parse import SplitResult, urlsplit

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.schemes import mask
from gemstone_events.urls import check_visible


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL, as they are written.

    Raises:
        ServiceConfigurationError: it is none, or holds what cannot be seen.
    """
    try:
        check_visible(url)
        return urlsplit(url)
    except ValueError as error:
        raise ServiceConfigurationError(f"{mask(url)!r} is no URL: {error}") from error
