# shellcheck shell=bash
# Reads xenopsd's unit, command line and config files. Needs ROOT.

UNIT_PLACES="/etc/systemd/system /usr/lib/systemd/system /lib/systemd/system"

find_unit() {
    local unit place
    UNIT=
    for unit in xenopsd-xc xenopsd; do
        if live; then
            have systemctl || return 0
            case $(systemctl show -p LoadState "$unit" 2>/dev/null) in
                LoadState=loaded) UNIT=$unit; return ;;
            esac
        else
            for place in $UNIT_PLACES; do
                if [ -f "$ROOT$place/$unit.service" ]; then UNIT=$unit; return; fi
            done
        fi
    done
}

# Prints the lines ExecStart=, Environment= and EnvironmentFile= of the unit, as unit files have
# them.
unit_lines() {
    local place file
    if live; then
        # systemctl shows ExecStart as { path=... ; argv[]=COMMAND LINE ; ignore_errors=no ; ... },
        # and EnvironmentFiles as /a/file (ignore_errors=yes).
        systemctl show -p ExecStart -p Environment -p EnvironmentFiles "$UNIT" | sed \
            -e 's/^ExecStart=.*argv\[\]=\(.*\) ; ignore_errors=.*/ExecStart=\1/' \
            -e 's/^EnvironmentFiles\{0,1\}=\(.*\) (ignore_errors=.*)$/EnvironmentFile=\1/'
        return
    fi
    for place in $UNIT_PLACES; do
        file=$ROOT$place/$UNIT.service
        if [ -f "$file" ]; then cat "$file"; break; fi
    done
    for place in /usr/lib/systemd/system /etc/systemd/system; do
        for file in "$ROOT$place/$UNIT.service.d"/*.conf; do
            if [ -f "$file" ]; then cat "$file"; fi
        done
    done
}

# Sets ARGV to the command line that the unit starts, with the values of its variables filled in.
read_unit() {
    local line start="" word value file
    local -A variables=()
    ARGV=()
    while IFS= read -r line; do
        case $line in
            ExecStart=?*) start=${line#ExecStart=} ;;
            Environment=?*)
                for word in ${line#Environment=}; do
                    word=${word#[\"\']} word=${word%[\"\']}
                    if [[ $word == [A-Za-z_]*=* ]]; then
                        variables[${word%%=*}]=${word#*=}
                    fi
                done ;;
            EnvironmentFile=?*)
                file=${line#EnvironmentFile=}
                file=$ROOT${file#-}
                [ -r "$file" ] || continue
                while IFS= read -r line || [ -n "$line" ]; do
                    if [[ $line =~ ^[[:blank:]]*([A-Za-z_][A-Za-z_0-9]*)=(.*)$ ]]; then
                        value=${BASH_REMATCH[2]}
                        case $value in
                            \"*\" | \'*\') value=${value:1:${#value}-2} ;;
                        esac
                        variables[${BASH_REMATCH[1]}]=$value
                    fi
                done <"$file" ;;
        esac
    done < <(unit_lines)
    set -f # a word with a * must not become the names of files
    for word in $start; do
        if [[ $word =~ ^\$\{?([A-Za-z_][A-Za-z_0-9]*)\}?$ ]]; then
            # shellcheck disable=SC2206
            ARGV+=(${variables[${BASH_REMATCH[1]}]:-})
        else
            ARGV+=("$word")
        fi
    done
    set +f
    [ ${#ARGV[@]} -gt 0 ] || refuse "the unit $UNIT has no command line that I can read"
    ARGV[0]=${ARGV[0]#[-@:+!]}
}

# option NAME: prints the value of --NAME on xenopsd's command line, the last value if there are
# several.
option() {
    local i value=""
    for ((i = 1; i < ${#ARGV[@]}; i++)); do
        case ${ARGV[i]} in
            --"$1"=* | -"$1"=*) value=${ARGV[i]#*=} ;;
            --"$1" | -"$1") value=${ARGV[i + 1]:-} ;;
        esac
    done
    printf '%s\n' "$value"
}

# values KEY FILE: prints each value that the file gives to KEY, read as xenopsd reads it: a comment
# begins at any #, the key is the last word before the =, and quotes around the value are dropped.
values() {
    [ -f "$2" ] || return 0
    awk -v wanted="$1" '
        {
            sub(/#.*/, ""); sub(/[ \t]+$/, "")
            if (!match($0, /[^=\\ \t]+[\\ \t]*=/)) next
            key = substr($0, RSTART, RLENGTH - 1); sub(/[\\ \t]+$/, "", key)
            value = substr($0, RSTART + RLENGTH); sub(/^[\\ \t]+/, "", value)
            first = substr(value, 1, 1)
            if (length(value) > 1 && (first == "\"" || first == "\047") &&
                first == substr(value, length(value)))
                value = substr(value, 2, length(value) - 2)
            if (key == wanted) print value
        }' "$2"
}

# end of xenopsd.sh
