"""What every URL is held to, whatever it is the URL of."""


def check_visible(url: str) -> None:
    """Refuse line breaks, tabs and whatever else cannot be seen: ``urlsplit`` and others drop some without a word.

    What was checked, shown or allowed is then what is used.

    Raises:
        ValueError: the URL holds some. The error never quotes it, for the password's sake.
    """
    if not url.isprintable():
        raise ValueError("it holds characters that cannot be seen")
