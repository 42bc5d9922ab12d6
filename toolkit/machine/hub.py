"""Does the Hub answer? One TCP connection, asked before a client would retry for half a minute."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

NETWORK_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Hub:
    """Whether the Hub, or the proxy in front of it, takes a connection. Names hosts only: a URL may hold a password."""

    host: str
    reachable: bool | None
    """None: not asked, for the reason in `why`."""
    why: str = ""


def ask_hub() -> Hub:
    """Connect to the Hub's host, or to the proxy in front of it, and close again; about 2 s at the most."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return Hub("", None, "huggingface_hub is not installed")
    if constants.is_offline_mode():
        return Hub("", None, "HF_HUB_OFFLINE is set")
    try:
        endpoint = urlsplit(constants.ENDPOINT)
        host, port = endpoint.hostname, endpoint.port or (80 if endpoint.scheme == "http" else 443)
        if not host:  # a name without https://
            raise ValueError
        proxy = getproxies().get(endpoint.scheme)
        if not proxy or proxy_bypass(host):
            why = _connect(host, port)
            return Hub(host, not why, why)
        via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        why = _connect(via.hostname or "", via.port or 80)
        return Hub(f"{host} by the proxy {via.hostname}", not why, why)
    except ValueError:  # its message quotes the URL
        return Hub("", False, "HF_ENDPOINT or the proxy is not a URL")


def _connect(host: str, port: int) -> str:
    """Return why there is no connection, or an empty string; after `NETWORK_TIMEOUT_S` at the latest."""
    outcome = [f"no answer in {NETWORK_TIMEOUT_S:.0f} s"]

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=NETWORK_TIMEOUT_S).close()
            outcome[0] = ""
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name can be made of it
            outcome[0] = getattr(error, "strerror", None) or str(error) or type(error).__name__

    # A thread, because looking a name up has no timeout of its own
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(NETWORK_TIMEOUT_S)
    return outcome[0]


def go_offline() -> None:
    """Make huggingface_hub, transformers and datasets use the local cache at once instead of retrying.

    They read the variable when they are imported; huggingface_hub's own constants may be imported already.
    """
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True
