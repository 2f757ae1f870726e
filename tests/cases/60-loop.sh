. "$(dirname "$0")/lab.sh"
# two links between two bridges, no spanning tree; queues of 100 kbit/s bound the storm
host; ctr c1 172.17.0.2; ctr c2 172.17.0.3
ip link add br1 type bridge; ip link set br1 up
for i in 0 1; do ip link add loop${i}a type veth peer name loop${i}b
  for s in a b; do tc qdisc add dev loop$i$s root tbf rate 100kbit burst 2000 limit 4000; done
  ip link set loop${i}a master docker0; ip link set loop${i}b master br1; done
ip link set loop0a up; ip link set loop0b up
cap
in_ c1 ping -c2 -i0.2 172.17.0.3 | tail -2
ip link set loop1a up; ip link set loop1b up
in_ c1 ping -c2 -W1 172.17.0.77 | grep transm
in_ c1 ping -c5 -i0.2 172.17.0.3 | tail -2
ip link set loop1a down
in_ c1 ping -c2 -i0.2 172.17.0.3 | tail -2
capend
