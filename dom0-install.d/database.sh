# shellcheck shell=bash
# The marks of xenvif-tagger in the Open vSwitch database. Needs config.sh.

vsctl() { ovs-vsctl --timeout=10 --no-wait ${REMOTE:+"--db=$REMOTE"} "$@"; }

# Removes the key xenvif-tagger from the external_ids of all Ports, many Ports in one transaction.
# (A row without the key does not match the condition. A Port may be deleted before its batch is
# sent: hence --if-exists.) False if the database can't be reached.
remove_marks() {
    local REMOTE ports held port arguments
    have ovs-vsctl || return 0
    REMOTE=$(config_value ovsdb remote) || {
        warn "$CONFIG, which may name the database with our marks, can't be read"
        return 1
    }
    ports=$(vsctl --bare --columns=_uuid find Port 'external_ids:xenvif-tagger!=""' 2>/dev/null) &&
        held=$(vsctl --format=csv --data=bare --no-headings --columns=name,external_ids find Port \
            'external_ids:xenvif-tagger!=""' tag=4095 2>/dev/null) || return 1
    ports=$(grep . <<<"$ports") || return 0
    # Core's mark.py writes |held|:{...; marks of an older version have quotes in place of the bars,
    # and ovs-vsctl doubles the quotes of a value in csv.
    held=$(grep -E '(\||"")held(\||""):' <<<"$held" | cut -d, -f1 | tr -d '"' | tr '\n' ' ')
    step "remove our marks from the database, number of ports: $(wc -l <<<"$ports")" || return 0
    if [ -n "$held" ]; then
        # shellcheck disable=SC2086
        warn "these $(wc -w <<<$held) ports are held, and stay closed:" $held
        warn "to open a held port in its VLAN:" \
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
