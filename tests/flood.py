"""Traffic of known make for tests: datagrams that are alike to the last bit."""

from __future__ import annotations

import socket
import time

from analyzer.net.netns import run_inside

IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
"""with DF set and an unconnected socket the kernel leaves the IP id at 0"""


def send_identical(netns_path: str, address: str, count: int, *, gap_s: float = 0.0002) -> None:
    """``count`` identical UDP datagrams to a port, from a namespace, one every ``gap_s``."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        sock.bind(("", 40000))
        return sock

    with run_inside(netns_path, make) as sock:
        for n in range(count):
            try:
                sock.sendto(b"the same every time", (address, 9))
            except ConnectionRefusedError:  # an ICMP error for an earlier one
                sock.sendto(b"the same every time", (address, 9))
            if n % 16 == 15:
                time.sleep(gap_s)
