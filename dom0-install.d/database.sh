# shellcheck shell=bash
# Our marks in the Open vSwitch database. Needs config.sh.

vsctl() { ovs-vsctl --timeout=10 --no-wait ${REMOTE:+"--db=$REMOTE"} "$@"; }

# Take our key out of all ports, by batches of one transaction each. In a condition on a key, rows
# without the key never match; --if-exists, for a port may go meanwhile.
remove_marks() {
    local REMOTE ports held port arguments
    have ovs-vsctl || return 0
    REMOTE=$(config_value ovsdb remote) || {
        warn "which database our marks are in can't be read from $CONFIG"
        return 1
    }
    ports=$(vsctl --bare --columns=_uuid find Port 'external_ids:xenvif-tagger!=""' 2>/dev/null) &&
        held=$(vsctl --format=csv --data=bare --no-headings --columns=name,external_ids find Port \
            'external_ids:xenvif-tagger!=""' tag=4095 2>/dev/null) || return 1
    ports=$(grep . <<<"$ports") || return 0
    # csv doubles the quotes: "{""base"":...,""held"":{...
    held=$(grep -E '"held""?:' <<<"$held" | cut -d, -f1 | tr -d '"' | tr '\n' ' ')
    step "take our marks out of the database, off ports: $(wc -l <<<"$ports")" || return 0
    if [ -n "$held" ]; then
        # shellcheck disable=SC2086
        warn "these $(wc -w <<<$held) ports are held, and stay closed:" $held
        warn "to open one in its VLAN:" \
            "ovs-vsctl set Port NAME tag=VLAN -- clear Port NAME vlan_mode"
    fi
    arguments=()
    while IFS= read -r port; do
        arguments+=(-- --if-exists remove Port "$port" external_ids xenvif-tagger)
        if [ ${#arguments[@]} -ge 3500 ]; then
            vsctl "${arguments[@]}" || return 1
            arguments=()
        fi
    done <<<"$ports"
    [ ${#arguments[@]} = 0 ] || vsctl "${arguments[@]}"
}

# end of database.sh
