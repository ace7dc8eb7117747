"""Database addresses as people write them: `${NAME}` references in, no passwords out."""

import os
import re
from urllib.parse import urlsplit

from dashboards.errors import ResultsError

_REFERENCE = re.compile(r"\$\{(\w+)\}")
_USER_AND_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):\S*@")
_SECRET_OPTION = re.compile(r"(?i)((?:password|passwd|secret|token)=)[^&\s]*")


def expand(uri: str) -> str:
    """Replace each `${NAME}` by the environment variable NAME.

    Raises:
        ResultsError: A named variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise ResultsError(f"{uri}: the environment variable {match[1]} is not set") from None

    return _REFERENCE.sub(value, uri)


def hide_password(text: str) -> str:
    """Return an address, or a message that holds one, with its passwords as `***`."""
    return _SECRET_OPTION.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1:***@", text))


def without_password(address: str) -> str:
    """Return a server's address without user and password."""
    url = urlsplit(address)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()


def is_url(address: str) -> bool:
    """Tell `sqlite:///sweeps.db` from the plain path `sweeps.db`."""
    return re.match(r"[A-Za-z][\w+.-]*://", address) is not None
