#!/bin/bash
# Copies each tag that changes to the port's sibling, as an admin without the watcher would.
# bench/watch.py measures this script. The script checks nothing, and does not see changes made
# before its start.
#
#   monitor.sh        (OVS_RUNDIR says where the database is)
set -eu -o pipefail

ovsdb-client monitor Open_vSwitch Port 'name,tag,!initial' --format=csv --no-heading |
while IFS=, read -r _ action name tag; do
    case $action:$name in
    new:vif*) sibling=tap${name#vif} ;;
    new:tap*) sibling=vif${name#tap} ;;
    *) continue ;;
    esac
    # --no-wait, because the benchmark's database has no ovs-vswitchd to wait for.
    ovs-vsctl --no-wait --timeout=30 set Port "$sibling" "tag=$tag" || true
done
