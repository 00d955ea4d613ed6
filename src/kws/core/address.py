"""Addresses of data sets as files and logs may show them: without credentials, without folders of a machine."""

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit


def public_address(address: str) -> str:
    """Removes what others should not see: user, password, query and fragment, and where on a disk a file stands.

    Args:
        address: with a scheme, such as https://, or a path. Of an absolute path, of one below a home folder and of a
            file:// address, the last name is left. Any other text is returned as it is.
    """
    if address.startswith(("/", "~")):
        return PurePosixPath(address).name
    if "://" not in address:
        return address
    parts = urlsplit(address)
    if parts.scheme == "file":
        return PurePosixPath(unquote(parts.path)).name
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
