# late.py IFACE SPORT: sniffs IFACE for a TCP server's segments from SPORT and sends, into the same
# connection, one segment far outside of the window (as a slow reader's window overflow makes them)
import socket
import struct
import sys
import time

iface, sport = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((iface, 0))
sent = 0
while True:
    f, a = s.recvfrom(2000)
    if a[2] != 4 or f[12:14] != b"\x08\x00" or f[23] != 6:
        continue  # outgoing, IPv4, TCP
    ihl = (f[14] & 15) * 4
    t = 14 + ihl
    if struct.unpack_from("!H", f, t)[0] != sport or not f[t + 13] & 8:
        continue  # PSH: data
    seq = struct.unpack_from("!I", f, t + 4)[0]
    tcp = bytearray(f[t : t + 20])
    tcp[12] = 0x50
    data = b"late" * 10
    struct.pack_into("!I", tcp, 4, (seq + 3_000_000) & 0xFFFFFFFF)
    struct.pack_into("!H", tcp, 16, 0)
    ip = bytearray(f[14:34])
    ip[0] = 0x45
    struct.pack_into("!H", ip, 2, 40 + len(data))
    struct.pack_into("!H", ip, 10, 0)

    def csum(b):
        b = bytes(b) + b"\0" * (len(b) % 2)
        x = sum(struct.unpack(f"!{len(b) // 2}H", b))
        while x >> 16:
            x = (x & 0xFFFF) + (x >> 16)
        return ~x & 0xFFFF

    struct.pack_into("!H", ip, 10, csum(ip))
    struct.pack_into(
        "!H",
        tcp,
        16,
        csum(bytes(ip[12:20]) + b"\0\6" + struct.pack("!H", 20 + len(data)) + bytes(tcp) + data),
    )
    time.sleep(0.3)
    s.send(f[:14] + bytes(ip) + bytes(tcp) + data)
    print("sent a late segment", flush=True)
    break
