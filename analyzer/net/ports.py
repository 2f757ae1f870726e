"""Well-known ports (IANA, Service Name and Transport Protocol Port Number Registry)."""

DNS_PORT, MDNS_PORT = 53, 5353
DHCP_SERVER, DHCP_CLIENT = 67, 68
VXLAN_PORTS = (4789, 8472)
"""IANA's, and Linux' default from before it was assigned, which Docker Swarm and flannel use"""
GENEVE_PORT = 6081
"""RFC 8926"""
FIRST_EPHEMERAL = 32768
"""the first port that Linux takes for a client (net.ipv4.ip_local_port_range)"""
NTP_PORT, SNMP_PORT, TFTP_PORT, SIP_PORT = 123, 161, 69, 5060
RADIUS_PORT, RADIUS_ACCOUNTING = 1812, 1813
STUN_PORT, COAP_PORT, QUIC_PORT = 3478, 5683, 443
MEMCACHED_PORT, WIREGUARD_PORT = 11211, 51820
"""these two are registered by nobody, and what their documentation names"""
REQUEST_PORTS = (
    DNS_PORT,
    NTP_PORT,
    SNMP_PORT,
    MEMCACHED_PORT,
    STUN_PORT,
    SIP_PORT,
    COAP_PORT,
    RADIUS_PORT,
    RADIUS_ACCOUNTING,
    QUIC_PORT,
    WIREGUARD_PORT,
)
"""of protocols over UDP in which each request wants an answer from where it went to"""
