"""Taking the URLs of wires apart."""

from urllib.parse import SplitResult, urlsplit

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.schemes import mask


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL, as they are written.

    Raises:
        ServiceConfigurationError: it is none. ``urlsplit`` alone drops line breaks and tabs without a word.
    """
    try:
        if not url.isprintable():
            raise ValueError("it holds characters that cannot be seen")
        return urlsplit(url)
    except ValueError as error:
        raise ServiceConfigurationError(f"{mask(url)!r} is no URL: {error}") from error
