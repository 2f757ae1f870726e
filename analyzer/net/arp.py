"""ARP's operation codes (RFC 826)."""

from __future__ import annotations

REQUEST, REPLY = 1, 2
