"""What file systems raise, told in sentences: what will not pass, and what to do."""

from __future__ import annotations

import re
from typing import Final

from audit.remote.urls import pretty

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
#: What HTTP says of a request that may be answered another time.
_PASSING_STATUSES: Final = frozenset({408, 421, 425, 429})


def lasting(error: Exception) -> str:
    """Why a fault will not pass, and what to do; or "" where it may."""
    name, status = type(error).__name__, _status(error)
    if isinstance(error, PermissionError) or status == 403:
        return (
            f"access was refused ({words(error)}); give these credentials leave to list, read "
            "and write there, or choose another place"
        )
    if "Credentials" in name or "Profile" in name or status == 401:
        return (
            f"there are no credentials to reach it with ({words(error)}); set them, for s3:// "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, for gs:// "
            "GOOGLE_APPLICATION_CREDENTIALS"
        )
    odd = isinstance(error, ValueError | TypeError | NotImplementedError) or "Validation" in name
    refused = status in range(300, 500) and status not in _PASSING_STATUSES
    if odd or refused or name == "TooManyRedirects":
        return f"it cannot be used ({words(error)}); check the address"
    return ""


def words(error: BaseException) -> str:
    """An exception in one line with its type, its URLs without passwords and signatures."""
    text = _URL.sub(lambda match: pretty(match[0]), " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _status(error: Exception) -> int:
    """The status of HTTP that an error tells of, or 0."""
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):  # as gcsfs says it
        return 403
    name = "status" if hasattr(error, "status") else "code"  # of aiohttp, and of gcsfs
    told = str(getattr(error, name, None))
    return int(told) if told.isdecimal() else 0
