"""TCP's control bits (RFC 9293, 3.1)."""

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
SYN_ACK = SYN | ACK
"""also the mask that tells a SYN from a SYN-ACK"""
