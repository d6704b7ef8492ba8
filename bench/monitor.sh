#!/bin/bash
# What an admin would write instead of a watcher: each port whose tag changes gives it to its
# sibling. For ./watch, which measures it; it checks nothing, and what was changed before it ran is
# not seen.
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
    # --no-wait, because behind the benchmark's database is no ovs-vswitchd to wait for.
    ovs-vsctl --no-wait --timeout=30 set Port "$sibling" "tag=$tag" || true
done
