"""Link types of capture files (https://www.tcpdump.org/linktypes.html)."""

NULL, ETHERNET, LOOP, LINUX_SLL, LINUX_SLL2 = 0, 1, 108, 113, 276
RAW, RAW_IPV4, RAW_IPV6 = 101, 228, 229
RAW_BSD, RAW_OPENBSD = 12, 14
"""DLT_RAW of two systems, which old files bear instead of 101"""
DECODED = frozenset(
    (
        *(NULL, ETHERNET, LOOP, LINUX_SLL, LINUX_SLL2),
        *(RAW, RAW_IPV4, RAW_IPV6, RAW_BSD, RAW_OPENBSD),
    )
)
NAMES = {
    6: "IEEE802_5",
    9: "PPP",
    10: "FDDI",
    50: "PPP_HDLC",
    51: "PPP_ETHER",
    104: "C_HDLC",
    105: "IEEE802_11",
    119: "IEEE802_11_PRISM",
    127: "IEEE802_11_RADIOTAP",
    147: "USER0",
    187: "BLUETOOTH_HCI_H4",
    189: "USB_LINUX",
    192: "PPI",
    195: "IEEE802_15_4_WITHFCS",
    201: "BLUETOOTH_HCI_H4_WITH_PHDR",
    220: "USB_LINUX_MMAPPED",
    227: "CAN_SOCKETCAN",
    230: "IEEE802_15_4_NOFCS",
    239: "NFLOG",
    253: "NETLINK",
}
"""of some that are not decoded, without their LINKTYPE_"""
