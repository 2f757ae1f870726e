. "$(dirname "$0")/lab.sh"
overlay
ip -n r addr add 192.0.2.99/24 dev r2
for h in h1 h2; do ip -n $h link set vx0 type vxlan df set; done
more() {  # more N VNI [remote ADDRESS]: a container kN on h1 in an overlay of its own
  local n=$1 vni=$2; shift 2
  ip netns add k$n; in_ k$n sleep 3600 & disown; ip -n k$n link set lo up
  ip -n h1 link add br$n type bridge; ip -n h1 link set br$n up
  ip -n h1 link add vx$n type vxlan id $vni dstport 4789 local 203.0.113.1 "$@"; ip -n h1 link set vx$n mtu 1350 master br$n up
  ip -n h1 link add v$n type veth peer name eth0 netns k$n; ip -n h1 link set v$n master br$n up
  ip -n k$n addr add 10.0.$n.1/24 dev eth0; ip -n k$n link set eth0 up; }
more 4 44                      # no far end at all
more 5 45 remote 192.0.2.2     # h2 has no VNI 45
more 6 46 remote 192.0.2.99    # no tunnel ends there
mac=$(in_ k1 cat /sys/class/net/eth0/address)
cap
sleep 0.3
in_ k1 ping -c1 -W1 -s 1400 -M do -q 10.0.0.2 | sed -n 4p
in_ k1 ping -c2 -i0.2 -W1 -q 10.0.0.2 | sed -n 4p
for n in 4 5 6; do in_ k$n ping -c1 -W1 -q 10.0.$n.2 | sed -n 4p; done
in_ h2 bridge fdb replace $mac dev vx0 dst 203.0.113.77 static   # k1 was elsewhere, somebody says
in_ k1 ip neigh flush dev eth0; in_ k1 ping -c2 -i0.2 -W1 -q 10.0.0.2 | sed -n 4p
capend
