#!/bin/bash
# Copies the VLAN settings of port SOURCE to port TARGET, as an admin without xenvif-tagger would.
# bench/run.py measures this script. The script checks nothing, copies nothing else, and overwrites
# a change that another program makes meanwhile.
#
#   admin.sh SOURCE TARGET        as in: admin.sh vif12.0 tap12.0
set -eu
source=$1
target=$2

# --no-wait, because the benchmark's database has no ovs-vswitchd for which ovs-vsctl could wait.
vsctl() { ovs-vsctl --no-wait --timeout=30 "$@"; }

tag=$(vsctl get Port "$source" tag)
vlan_mode=$(vsctl get Port "$source" vlan_mode)
trunks=$(vsctl get Port "$source" trunks)
iface_id=$(vsctl --if-exists get Interface "$source" external_ids:iface-id)
vm_id=$(vsctl --if-exists get Interface "$source" external_ids:vm-id)

vsctl set Port "$target" "tag=$tag" "vlan_mode=$vlan_mode" "trunks=$trunks"
if [ -n "$iface_id" ] && [ -n "$vm_id" ]; then
    vsctl set Interface "$target" "external_ids:iface-id=$iface_id" "external_ids:vm-id=$vm_id"
fi
