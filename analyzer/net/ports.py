"""Well-known ports (IANA, Service Name and Transport Protocol Port Number Registry)."""

DNS_PORT, MDNS_PORT = 53, 5353
DHCP_SERVER, DHCP_CLIENT = 67, 68
VXLAN_PORTS = (4789, 8472)
"""IANA's, and Linux' default from before it was assigned, which Docker Swarm and flannel use"""
GENEVE_PORT = 6081
"""RFC 8926"""
FIRST_EPHEMERAL = 32768
"""the first port that Linux takes for a client (net.ipv4.ip_local_port_range)"""
