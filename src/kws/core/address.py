"""Addresses of data sets as files and logs may show them: without credentials."""

from urllib.parse import urlsplit, urlunsplit


def public_address(address: str) -> str:
    """Removes user, password, query and fragment from an address: they may be credentials.

    Args:
        address: with a scheme, such as https://. Any other text is returned as it is.
    """
    if "://" not in address:
        return address
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
