"""Link types of capture files (https://www.tcpdump.org/linktypes.html)."""

NULL, ETHERNET, LOOP, LINUX_SLL, LINUX_SLL2 = 0, 1, 108, 113, 276
RAW, RAW_IPV4, RAW_IPV6 = 101, 228, 229
RAW_BSD, RAW_OPENBSD = 12, 14
"""DLT_RAW of two systems, which old files bear instead of 101"""
