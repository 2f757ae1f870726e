"""Conversations out of packets: hops, ICMP echoes, ARP, losses, the verdict. Pure, in Polars."""
