# A healthy host under all loads at once, beside a neighbour whose packets die: c1 to c4 and k lose nothing.
. "$(dirname "$0")/lab.sh"
host; for n in 1 2 3 4; do ctr c$n 172.17.0.$((n + 1)); done; ctr n1 172.17.0.20; ctr m1 172.17.0.21
tc qdisc add dev v-c2 root tbf rate 400mbit burst 128k limit 60m          # holds all, drops nothing
tc qdisc add dev v-c4 clsact
tc filter add dev v-c4 ingress protocol all u32 match u32 0 0 action mirred egress mirror dev v-m1
in_ c2 python3 -c "
import socket, threading
def sink():
    t = socket.create_server(('', 5001))
    while 1:
        c, _ = t.accept(); n = 0
        while d := c.recv(1 << 18): n += len(d)
        c.close()
threading.Thread(target=sink, daemon=True).start()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53))
while 1: d, a = s.recvfrom(512); s.sendto(d[:2] + b'\x81\x80' + d[4:], a)" & SERVER=$!; disown
cap
noise() {  # failing ARP and full queues in n1; closed ports on lo of the host and of c1
  timeout 3 ip netns exec n1 python3 -c "
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(900):
    s.sendto(b'x' * 20000, ('172.17.%d.9' % (100 + i // 300), 9))
    if i % 10 == 0: time.sleep(0.01)"
}
lo() { timeout 3 "$@" python3 -c "
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9))
for i in range(3000):
    try: s.send(b'x')
    except ConnectionRefusedError: pass
    if i % 20 == 0: time.sleep(0.002)"; }
questions() { in_ $1 python3 -c "
import socket, time
n = 0
for i in range(100):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(9)
    s.sendto(bytes([0, i]) + b'\1\0\0\1\0\0\0\0\0\0' + b'\3web\0' + bytes([0, 1]) + b'\0\1', ('172.17.0.3', 53))
    n += s.recv(512)[:2] == bytes([0, i]); s.close(); time.sleep(0.01)
import os; os.write(1, b'ANSWERED %d\n' % n)"; }
bulk() { in_ $1 python3 -c "
import socket
for i in range(3):
    with socket.create_connection(('172.17.0.3', 5001)) as s: s.sendall(bytes(3 << 20)); s.shutdown(1); s.recv(1)
import os; os.write(1, b'SENT 3\n')"; }
churn() { for i in 1 2 3; do  # one after the other with the same MAC and address
    ctr k 172.17.0.9 02:42:ac:11:00:09; in_ k ping -c3 -i0.05 -W5 172.17.0.3
    kill $(ip netns pids k); ip netns del k; ip link del v-k 2>/dev/null; done; }
pause() { for i in 1 2 3; do sleep 0.4; kill -STOP $SERVER; sleep 0.15; kill -CONT $SERVER; done; }
noise & lo & lo ip netns exec c1 & JOBS=$!
in_ c1 ping -q -i0.002 -c1000 -W5 172.17.0.4 & in_ c3 ping -q -c40 -i0.02 -s 3000 -W5 172.17.0.3 &
in_ c4 ping -q -c40 -i0.02 -W5 172.17.0.3 &
questions c1 & questions c3 & bulk c1 & bulk c4 & pause & churn & wait $(jobs -p | grep -v "^$CAPPID$")
capend
