"""A process that hands a published port on: docker-proxy, as its command line tells."""

from __future__ import annotations

from msgspec import Struct


class Proxy(Struct, frozen=True, order=True):
    protocol: str
    """tcp or udp"""
    host_ip: str
    """where it listens; 0.0.0.0 and :: are all addresses"""
    host_port: int
    container_ip: str
    container_port: int
