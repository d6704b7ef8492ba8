#!/bin/bash
# Puts xenvif-tagger into a dom0, and takes it out again. See --help, and docs/install.md.
#
# The order of the steps is the point. xenopsd does not start if its setting setup-vif-rules names
# a file that is missing or not executable, and a VIF whose xenstore key names one can't be plugged
# or unplugged. So the hook is there before anything names it, and goes after nothing does; each
# change is one rename; and what uninstall must know is written down before it is done. Killed at
# any point, the host works, and a second run completes or undoes it.

set -u -o pipefail
export LC_ALL=C # xenopsd sorts the files of its directory by their bytes
umask 022

NAME=dom0-install
BASE=/opt/xenvif-tagger
HOOK=$BASE/hotplug/setup-vif-rules
COMMAND=/usr/bin/xenvif-tagger
CONFIG=/etc/xenvif-tagger.conf
SETTING_NAME=zz-xenvif-tagger.conf # sorts last: of several settings the last one counts
USUAL="/usr/libexec/xenopsd/setup-vif-rules /opt/xensource/libexec/setup-vif-rules"
LIBXL_STOCK=/etc/xen/scripts/vif-openvswitch
LIBXL_LINK=/etc/xen/scripts/vif-openvswitch-tagger
SERVICE=xenvif-tagger.service # the watcher
SERVICE_FILE=/etc/systemd/system/$SERVICE
SERVICE_LINK=/etc/systemd/system/multi-user.target.wants/$SERVICE
PYTHON=/usr/bin/python3 # what the first line of the hook names, as xapi's own scripts do
PARTS="hotplug xenvif_tagger vendor dom0-install.sh" # of a release, with a link each in $BASE

# Links to what others read: a file of $BASE/hotplug, and the link. One is made where its directory
# is there: else there is nobody who reads it. (zsh: for Fedora, XenServer 9; for Debian.)
LINKS="
xenvif-tagger    $COMMAND
xenvif-tagger.8  /usr/share/man/man8/xenvif-tagger.8
completion.bash  /usr/share/bash-completion/completions/xenvif-tagger
completion.zsh   /usr/share/zsh/site-functions/_xenvif-tagger
completion.zsh   /usr/share/zsh/vendor-completions/_xenvif-tagger
bugtool          /etc/xensource/bugtool/xenvif-tagger
bugtool.xml      /etc/xensource/bugtool/xenvif-tagger.xml
xapi-plugin      /etc/xapi.d/plugins/xenvif-tagger
"

FAILED=1 REFUSED=2 LOCKED=3 RESTART_LATER=4 MARKS_LEFT=5

usage() {
    cat <<'TEXT'
Usage: dom0-install.sh [install | --uninstall | --check] [OPTION]...

Installs xenvif-tagger into this dom0, from the directory that this script is in, for XenServer
8 and 9, XCP-ng 8.3 and 9; where there is no xenopsd but libxl (xl, libvirt), for that.

  install         install, or upgrade in place (this is the default)
  --uninstall     leave the host as it was before
  --check         say of each piece whether it is OK or MISSING
  --dry-run       say what would be done, and change nothing
  --no-restart    don't restart xenopsd: what it has not read yet counts from its next start.
                  (The watcher is started, all the same)
  --wait SECONDS  how long to wait for xenopsd to have no task in progress (default: 60)
  --root DIR      only the files, below DIR; the running system is neither asked nor changed
  -h, --help      this

What it puts on the host:
  /opt/xenvif-tagger           hook, command, package, and what --uninstall must know
  /usr/bin/xenvif-tagger       a link to the command; where there are such things, links, too, to
                               its man page, completions, plugins for xen-bugtool and XAPI
  /etc/xenvif-tagger.conf      if there is none yet
  /etc/systemd/system/xenvif-tagger.service    the watcher, enabled and started
  .../zz-xenvif-tagger.conf    in the directory that xenopsd reads: setup-vif-rules=<our hook>
  /xapi/*/private/vif/*/setup-vif-rules in xenstore: our hook, for VIFs that are plugged now
With libxl, instead of the last two:
  /etc/xen/scripts/vif-openvswitch-tagger    a link to the hook, to be named in script=

xenopsd is restarted, once, when it has no task in progress. Running VMs are not touched.

--uninstall takes all that away, and our marks (external_ids:xenvif-tagger of Ports) out of the
database. A config file that was there before, or was changed since, stays. Ports that are held
stay as they are: it says how many, and what opens them.

Interrupted at any step, run it again: it completes, or with --uninstall undoes, what was begun.
Only one runs at a time.

Exit status:
  0  done, or nothing to do; --check: all is there
  1  a step failed, the message says which (the host works; run it again); --check: something
     is missing
  2  wrong usage, or refused, and nothing was changed: not root, not a dom0, Python older than
     3.6, a setup-vif-rules in Python 2 (XCP-ng 8.2 and older), Linux bridge, ...
  3  another run of this script is under way
  4  done but for the restart of xenopsd: it has tasks in progress, or --uninstall --no-restart
     was asked for. Run it again later. (After --uninstall the hook's files stay until then.)
  5  uninstalled, but our marks are still in the database, which can't be reached
TEXT
}

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "$NAME" "$*" >&2; }
refuse() { warn "$*"; exit $REFUSED; }
die() { warn "$*"; exit $FAILED; }

# step WHAT: true if it is to be done; with --dry-run only told.
step() {
    STEPS=$((STEPS + 1))
    if [ $DRY = 1 ]; then say "would $*"; return 1; fi
    say "$*"
}

# point NAME: the tests kill us at each of these.
point() {
    if [ "${XENVIF_TAGGER_INSTALL_STOP_AFTER:-}" = "$1" ]; then kill -9 $$; fi
}

must() { "$@" || die "this failed, so I stop here: $*"; }

live() { [ -z "$ROOT" ]; }

have() { command -v "$1" >/dev/null 2>&1; }

# ---- small things on files ------------------------------------------------------------------

# put TEXT FILE NEW: TEXT becomes FILE, at once, by way of NEW. (fsync: so that a rename that
# survives a power cut does not lead to an empty file.)
put() {
    {
        printf '%s\n' "$1" | dd of="$3" conv=fsync 2>/dev/null && chmod 644 "$3" &&
            mv -fT "$3" "$2"
    } || {
        rm -f "$3"
        die "can't write $2"
    }
}

# link TARGET PATH: at once, too.
link() {
    [ "$(readlink "$2")" != "$1" ] || return 0
    { ln -sfn "$1" "$2.new" && mv -fT "$2.new" "$2"; } || die "can't make the link $2"
}

hash_of() { sha256sum 2>/dev/null <"$1" | cut -d" " -f1; }

# ---- what uninstall must know: lines KEY=VALUE, a key may have several ------------------------

state_get() {
    [ -f "$STATE" ] || return 0
    local line
    while IFS= read -r line; do
        [ "${line%%=*}" != "$1" ] || printf '%s\n' "${line#*=}"
    done <"$STATE"
}

state_has() { grep -qxF -- "$1=$2" "$STATE" 2>/dev/null; }

state_add() {
    ! state_has "$1" "$2" || return 0
    local all=""
    [ ! -f "$STATE" ] || all=$(cat "$STATE")$'\n'
    put "$all$1=$2" "$STATE" "$STATE.new"
}

state_del() {
    state_has "$1" "$2" || return 0
    put "$(grep -vxF -- "$1=$2" "$STATE")" "$STATE" "$STATE.new"
}

# state_only KEY VALUE: this is its one value.
state_only() {
    local old
    state_add "$1" "$2"
    while IFS= read -r old; do
        [ "$old" = "$2" ] || state_del "$1" "$old"
    done < <(state_get "$1")
}

# make_directory PATH: with its parents, noting down what was not there.
make_directory() {
    local path=$1 missing=()
    while [ ! -d "$ROOT$path" ]; do
        missing+=("$path")
        path=$(dirname "$path")
    done
    for path in "${missing[@]+"${missing[@]}"}"; do
        state_add made "$path"
    done
    must mkdir -p "$ROOT$1"
}

# ---- xenopsd: its unit, its config, how it runs -----------------------------------------------

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
UNIT_PLACES="/etc/systemd/system /usr/lib/systemd/system /lib/systemd/system"

# The lines ExecStart=, Environment= and EnvironmentFile= of the unit, in one form.
unit_lines() {
    local place file
    if live; then
        # { path=... ; argv[]=COMMAND LINE ; ignore_errors=no ; ... }; /a/file (ignore_errors=yes)
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

# Sets ARGV to the command line that the unit starts, its variables filled in.
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
    set -f # the words are words, not patterns
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

# option NAME: its value on xenopsd's command line, the last one.
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

# values KEY FILE: what the file sets KEY to, as xenopsd reads it: a comment begins at any #, the
# last word before the = is the key, quotes around the value go.
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

# Sets CONF and CONF_DIR, and SETTING: our file there.
find_config_dir() {
    local service=${ARGV[0]##*/} value
    CONF=$(option config)
    CONF=${CONF:-/etc/$service.conf}
    CONF_DIR=$(option config-dir)
    CONF_DIR=${CONF_DIR:-/etc/$service.conf.d}
    # The config file, too, can say where the directory is: it is read first.
    value=$(values config-dir "$ROOT$CONF" | tail -n 1)
    CONF_DIR=${value:-$CONF_DIR}
    while [[ $CONF_DIR == ?*/ ]]; do CONF_DIR=${CONF_DIR%/}; done
    SETTING=$CONF_DIR/$SETTING_NAME
}

# The config files, in the order in which they are read; hidden ones are read, too.
config_files() {
    printf '%s\n' "$CONF"
    [ ! -d "$ROOT$CONF_DIR" ] || find "$ROOT$CONF_DIR" -mindepth 1 -maxdepth 1 -printf '%f\n' |
        sort | while IFS= read -r file; do printf '%s\n' "$CONF_DIR/$file"; done
}

# Sets STOCK to the script that xenopsd uses without us, OVERRIDES to a file whose setting would
# count instead of ours, and BY_HAND to a file that names our hook and is not ours.
find_stock() {
    local file value place chosen search
    chosen=$(option setup-vif-rules)
    search=$(option search-path)
    while IFS= read -r file; do
        [ "$file" != "$SETTING" ] || continue
        while IFS= read -r value; do
            if [[ $value == "$BASE"/* ]]; then
                BY_HAND=$file
                continue
            fi
            chosen=$value
            if [[ $file == "$CONF_DIR"/* && ${file##*/} > $SETTING_NAME ]]; then OVERRIDES=$file; fi
        done < <(values setup-vif-rules "$ROOT$file")
        while IFS= read -r value; do
            search=$value:$search
        done < <(values search-path "$ROOT$file")
    done < <(config_files)
    case $chosen in
        /*) STOCK=$chosen; return ;;
    esac
    chosen=${chosen:-setup-vif-rules}
    local IFS=:
    for place in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin $search; do
        if [ -n "$place" ] && [ -e "$ROOT$place/$chosen" ]; then
            STOCK=$place/$chosen
            return
        fi
    done
    unset IFS
    STOCK=$(usual_stock)
}

# What the hook finds without being told.
usual_stock() {
    local place
    for place in $USUAL; do
        if [ -x "$ROOT$place" ]; then printf '%s\n' "$place"; return; fi
    done
}

# Which process xenopsd is, "none" if it doesn't run. (Of the boot, too: numbers come again.)
running() {
    local line pid=0 active="" since=""
    while IFS= read -r line; do
        case $line in
            MainPID=*) pid=${line#*=} ;;
            ActiveState=*) active=${line#*=} ;;
            ExecMainStartTimestampMonotonic=*) since=${line#*=} ;;
        esac
    done < <(systemctl show -p MainPID -p ActiveState -p ExecMainStartTimestampMonotonic "$UNIT")
    if [ "$active" != active ] || [ "$pid" = 0 ]; then
        echo none
    else
        echo "$(cat /proc/sys/kernel/random/boot_id) $pid $since"
    fi
}

# Note down which xenopsd has not read the setting as it is now.
note_unread() { put "$(running)" "$UNREAD" "$UNREAD.new"; }

# Whether the xenopsd that runs has not read it. Where nothing is noted down (killed in between),
# it has not.
is_unread() {
    local now
    now=$(running)
    [ "$now" != none ] && { [ $WOULD_CHANGE = 1 ] || [ ! -f "$UNREAD" ] || [ "$now" = "$(cat "$UNREAD")" ]; }
}

# Whether xenopsd has tasks in progress: 0 yes, 1 no, 2 can't be told. BUSY says which.
is_busy() {
    local tasks
    # "ID DATE WHO ["Pending",0.5]", and below each its parts, which we leave: a failed task may
    # have pending ones. What is completed or failed stays listed until xapi takes it away.
    if have xenops-cli && tasks=$(timeout 10 xenops-cli tasks 2>/dev/null); then
        BUSY=$(grep -v '^  |_' <<<"$tasks" | grep -F '["Pending"' | sed 's/ *\["Pending".*//')
    elif have xe && tasks=$(timeout 20 xe task-list status=pending --minimal 2>/dev/null); then
        BUSY=$tasks
    else
        return 2
    fi
    [ -n "$BUSY" ]
}

# Restart xenopsd if it has not read the setting. 0 done or not needed, 1 it does not run now,
# 4 it was not tried.
restart() {
    local deadline busy told="" before now
    if [ -z "$UNIT" ] || ! live || ! is_unread; then return 0; fi
    # Nothing noted down means: killed between the change and the note.
    [ $DRY = 1 ] || [ -f "$UNREAD" ] || note_unread
    [ $NO_RESTART = 0 ] || return 4
    if [ $DRY = 1 ]; then step "restart $UNIT when it has no task in progress"; return 0; fi
    deadline=$((SECONDS + WAIT))
    while :; do
        is_busy
        busy=$?
        [ $busy != 1 ] || break
        if [ $busy = 2 ]; then
            warn "neither xenops-cli nor xe says whether $UNIT has tasks in progress"
            return 4
        fi
        if [ -z "$told" ]; then say "wait until $UNIT has no task in progress: ${BUSY//$'\n'/; }"; fi
        told=1
        if [ $SECONDS -ge $deadline ]; then
            warn "after $WAIT s $UNIT still has tasks in progress"
            return 4
        fi
        sleep "${XENVIF_TAGGER_INSTALL_POLL:-1}"
    done
    before=$(running)
    step "restart $UNIT"
    systemctl restart "$UNIT" || return 1
    # The unit is of the simple kind: started counts as running, so look whether it stays.
    now=$(running)
    deadline=$((SECONDS + ${XENVIF_TAGGER_INSTALL_SETTLE:-3}))
    while :; do
        if [ "$now" = none ] || [ "$now" = "$before" ] || [ "$now" != "$(running)" ]; then
            return 1
        fi
        if [ $SECONDS -ge $deadline ]; then return 0; fi
        sleep 0.2
    done
}

# remove_setting: whatever we have recorded, the place where we would write it now included.
remove_setting() {
    local file
    while IFS= read -r file; do
        [ -e "$ROOT$file" ] || continue
        [ $DRY = 0 ] || WOULD_CHANGE=1
        if step "remove the setting $file"; then
            rm -f "$UNREAD"
            must rm -f "$ROOT$file"
            point setting-removed
            if live && [ -n "$UNIT" ]; then note_unread; fi
        fi
    done < <({ state_get setting; [ -z "${SETTING:-}" ] || echo "$SETTING"; } | sort -u)
}

# ---- xenstore ---------------------------------------------------------------------------------

# keys_with VALUE: the paths of the keys that name the script of a VIF and are VALUE.
keys_with() {
    local trees tree listed pattern path value
    if [ "$FLAVOUR" = xenopsd ]; then
        trees=/xapi
        pattern='/xapi/[^/ ]*/private/vif/[0-9]*/setup-vif-rules'
    else
        trees="/local/domain/0/backend/vif /libxl"
        pattern='/[^ ]*/vif/[0-9/]*/script'
    fi
    for tree in $trees; do
        # (With -f values are not cut to the width of a terminal.)
        if ! listed=$(xenstore-ls -f "$tree" 2>&1); then
            case $listed in
                *"No such file"*) continue ;; # no VM yet
                *) warn "xenstore-ls $tree: ${listed##*$'\n'}"; return 1 ;;
            esac
        fi
        while read -r path value; do
            if [ "$value" = "= \"$1\"" ]; then printf '%s\n' "$path"; fi
        done < <(grep "^$pattern = " <<<"$listed")
    done
}

# rewrite_keys FROM TO: false if xenstore can't be reached.
rewrite_keys() {
    local found path count=0
    found=$(keys_with "$1") || return 1
    [ -n "$found" ] || return 0
    step "set $2 in xenstore for VIFs that are plugged with $1: $(wc -l <<<"$found")" || return 0
    while IFS= read -r path; do
        # (Unplugged since it was listed: a write would make it anew.)
        if [ "$(xenstore-read "$path" 2>/dev/null)" = "$1" ]; then
            xenstore-write "$path" "$2" || return 1
        fi
        count=$((count + 1))
        [ $count != 1 ] || point key
    done <<<"$found"
}

# ---- the database -----------------------------------------------------------------------------

vsctl() {
    local remote
    # (awk: the package that would read it may be broken, or gone.)
    remote=$([ ! -f "$CONFIG" ] || setting_in "$CONFIG" ovsdb remote)
    ovs-vsctl --timeout=10 --no-wait ${remote:+"--db=$remote"} "$@"
}

# setting_in FILE SECTION KEY: of our own config file.
setting_in() {
    awk -v section="$2" -v key="$3" '
        { sub(/^[ \t]+/, ""); sub(/[ \t\r]+$/, "") }
        /^\[.*\]$/ { now = substr($0, 2, length($0) - 2); gsub(/^[ \t]+|[ \t]+$/, "", now); next }
        now == section && index($0, "=") {
            name = substr($0, 1, index($0, "=") - 1); sub(/[ \t]+$/, "", name)
            value = substr($0, index($0, "=") + 1); sub(/^[ \t]+/, "", value)
            if (name == key && value != "") { print value; exit }
        }' "$1"
}

# Take our key out of all ports, by batches of one transaction each. In a condition on a key, rows
# without the key never match; --if-exists, for a port may go meanwhile.
remove_marks() {
    local ports held port arguments
    have ovs-vsctl || return 0
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

# ---- the watcher: a unit of systemd's ----------------------------------------------------------

# Whether there is a systemd that could run it; below --root, one that it could be for.
has_systemd() {
    local place
    if live; then
        # As sd_booted(3): it is installed in many a place where it does not run.
        [ -d /run/systemd/system ] && have systemctl
        return
    fi
    for place in $UNIT_PLACES; do
        if [ -d "$ROOT$place" ]; then return 0; fi
    done
    return 1
}

# Sets WATCHER: the release that the watcher runs ("none" if it doesn't), and RELOAD: whether
# systemd has another unit than what is on the disk now.
look_at_service() {
    local line active="" pid=0
    WATCHER=none RELOAD=no
    while IFS= read -r line; do
        case $line in
            ActiveState=*) active=${line#*=} ;;
            MainPID=*) pid=${line#*=} ;;
            NeedDaemonReload=*) RELOAD=${line#*=} ;;
        esac
    done < <(systemctl show -p ActiveState -p MainPID -p NeedDaemonReload "$SERVICE" 2>/dev/null)
    if [ "$active" = active ] && [ "$pid" != 0 ]; then
        # Its working directory is $BASE/current, where that led to when it was started.
        WATCHER=$(readlink "/proc/$pid/cwd")
        WATCHER=${WATCHER#"$BASE/"}
    fi
}

# shellcheck disable=SC2317 # called by expect
service_there() { cmp -s "$ROOT$BASE/current/hotplug/$SERVICE" "$ROOT$SERVICE_FILE"; }

service_enabled() { [ "$(readlink "$ROOT$SERVICE_LINK")" = "$SERVICE_FILE" ]; }

# shellcheck disable=SC2317 # called by expect
service_runs() {
    look_at_service
    [ "$WATCHER" = "$(readlink "$BASE/current")" ] && [ "$RELOAD" != yes ]
}

# False if the watcher can't be started. That is told, and keeps nothing else from being installed:
# the hook does not need it.
install_service() {
    local release=$1
    if ! has_systemd; then
        say "there is no systemd here, so the watcher is not started: run '$COMMAND watch' by" \
            "what there is instead"
        return 0
    fi
    if ! { cmp -s "$HERE/hotplug/$SERVICE" "$ROOT$SERVICE_FILE" && service_enabled; } &&
        step "write the unit of the watcher, $SERVICE_FILE, and enable it"; then
        state_add service "$SERVICE"
        make_directory "${SERVICE_LINK%/*}"
        point service-noted
        put "$(cat "$HERE/hotplug/$SERVICE")" "$ROOT$SERVICE_FILE" "$ROOT$SERVICE_FILE.new"
        point service
        link "$SERVICE_FILE" "$ROOT$SERVICE_LINK"
        point service-link
    fi
    live || return 0
    look_at_service
    if [ "$WATCHER" = "releases/$release" ] && [ "$RELOAD" != yes ]; then return 0; fi
    step "start the watcher: systemctl restart $SERVICE" || return 0
    # (It waits until the watcher says that it is ready. An earlier one may have been told to stop
    # trying, by hand.)
    if ! systemctl daemon-reload || ! systemctl restart "$SERVICE"; then return 1; fi
    point service-started
    look_at_service
    [ "$WATCHER" = "releases/$release" ]
}

# Before our marks are taken out: it would write them again.
remove_service() {
    local path
    if [ -z "$(state_get service)" ]; then return 0; fi
    if step "stop the watcher, and remove $SERVICE_FILE"; then
        # First the link, so that it is not started either, should the host be booted in between.
        must rm -f "$ROOT$SERVICE_LINK"
        point service-link
        if live && has_systemd; then
            # (One that is not loaded can't be stopped, and need not be.)
            systemctl stop "$SERVICE" 2>/dev/null
            look_at_service
            [ "$WATCHER" = none ] || die "the watcher can't be stopped: systemctl status $SERVICE"
        fi
        point service-stopped
        must rm -f "$ROOT$SERVICE_FILE"
        point service
        if live && has_systemd; then
            systemctl reset-failed "$SERVICE" 2>/dev/null
            must systemctl daemon-reload
        fi
    fi
    for path in "$ROOT$SERVICE_FILE.d"/*; do
        if [ -e "$path" ]; then say "${path#"$ROOT"} is not ours: it stays"; fi
    done
}

# ---- what is here -----------------------------------------------------------------------------

# Sets FLAVOUR, UNIT and, for xenopsd, all that is known of its config.
look_around() {
    SETTING="" STOCK="" OVERRIDES="" BY_HAND=""
    find_unit
    if [ -n "$UNIT" ]; then
        FLAVOUR=xenopsd
        read_unit
        find_config_dir
        find_stock
    elif [ -e "$ROOT$LIBXL_STOCK" ]; then
        FLAVOUR=libxl
        STOCK=$LIBXL_STOCK
    else
        FLAVOUR=none
    fi
}

refuse_if_unfit() {
    local version first network="" loaded=no part needed="" told file path
    if [ $FLAVOUR = none ]; then
        refuse "this is not a dom0: there is neither xenopsd nor $LIBXL_STOCK"
    fi
    for part in xenvif_tagger/__init__.py hotplug/setup-vif-rules hotplug/xenvif-tagger \
        hotplug/xenvif-tagger.conf hotplug/$SERVICE $([ $FLAVOUR = xenopsd ] || echo hotplug/vif-openvswitch-tagger); do
        [ -f "$HERE/$part" ] || refuse "$HERE/$part is missing: unpack the whole bundle"
    done

    if [ $FLAVOUR = xenopsd ]; then
        [ -n "$STOCK" ] || refuse "no stock setup-vif-rules: neither does xenopsd's config name" \
            "one, nor is it in one of the usual places ($USUAL)"
        if [ ! -f "$ROOT$STOCK" ] || [ ! -x "$ROOT$STOCK" ]; then
            refuse "xenopsd's setup-vif-rules is $STOCK, and that is missing or not executable"
        fi
        first=$(head -c 200 "$ROOT$STOCK" | head -n 1 | tr -d '\0')
        case $first in
            '#!'*python3*) ;;
            '#!'*python*) refuse "$STOCK is for Python 2 ($first), as in XCP-ng 8.2 and older:" \
                "xenvif-tagger needs XCP-ng 8.3 or XenServer 8, or newer" ;;
        esac
        [ -z "$OVERRIDES" ] || refuse "$OVERRIDES sets setup-vif-rules, and is read after our own" \
            "$SETTING_NAME: give it a name that sorts before it"
        [ -z "$BY_HAND" ] || refuse "$BY_HAND names our hook in setup-vif-rules: take that line out"
        # networkd goes by the file, the scripts by the module.
        [ ! -r "$ROOT/etc/xensource/network.conf" ] ||
            network=$(tr -d '[:space:]' <"$ROOT/etc/xensource/network.conf")
        if ! live || [ -e /sys/module/openvswitch ]; then loaded=yes; fi
        if [ "$network" = bridge ] || [ -z "$network$(grep yes <<<$loaded)" ]; then
            refuse "this host uses the Linux bridge, not Open vSwitch (/etc/xensource/network.conf," \
                "/sys/module/openvswitch): there is nothing to tag"
        fi
        [ $loaded = yes ] || warn "/etc/xensource/network.conf says $network, but the module is not" \
            "loaded: until then the scripts use the Linux bridge, and the hook does nothing"
    fi

    [ -x "$ROOT$PYTHON" ] || [ -L "$ROOT$PYTHON" ] || refuse "there is no $PYTHON"
    if live; then
        version=$("$PYTHON" -IS -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
    else # not to be run, and its name says it
        version=$(readlink "$ROOT$PYTHON")
        version=${version##*python}
    fi
    case $version in
        3.[0-5] | [0-2].*) refuse "$PYTHON is Python $version: it takes 3.6 or newer" ;;
        3.*) ;;
        *) ! live || refuse "$PYTHON does not run" ;;
    esac

    while read -r file path; do
        if { [ -e "$ROOT$path" ] || [ -L "$ROOT$path" ]; } && ! is_linked "$file" "$path"; then
            refuse "$path is there already, and not ours: take it away first"
        fi
    done < <(links here)

    # Where the hook would not find the stock script by itself, the config must say it.
    NAME_STOCK=
    if [ $FLAVOUR = xenopsd ] && [ "$STOCK" != "$(usual_stock)" ]; then needed=$STOCK; fi
    if [ -f "$ROOT$CONFIG" ] && ! is_our_config; then
        told=$(setting_in "$ROOT$CONFIG" plug stock_script)
        if [ -n "$needed" ] && [ -z "$told" ]; then
            refuse "xenopsd uses $needed, and $CONFIG does not say so: put" \
                "'stock_script = $needed' into it, under [plug]"
        elif [ $FLAVOUR = xenopsd ] && [ -n "$told" ] && [ "$told" != "$STOCK" ]; then
            warn "$CONFIG says stock_script = $told; xenopsd itself uses $STOCK"
        fi
    else
        NAME_STOCK=$needed
    fi
}

is_our_config() { state_has config "$(hash_of "$ROOT$CONFIG")"; }

# ---- install ----------------------------------------------------------------------------------

# The name of a release: what it says of itself, and what it is.
release_name() {
    local version parts
    mapfile -t parts < <(present_parts "$1")
    version=$(sed -n 's/^__version__ = "\([A-Za-z0-9.+]*\)"$/\1/p' "$1/xenvif_tagger/__init__.py")
    printf '%s-%s\n' "${version:-0}" "$(
        cd "$1" && find -L "${parts[@]}" -name __pycache__ -prune -o -type f ! -name '*.pyc' \
            -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12)"
}

present_parts() {
    local part
    for part in $PARTS LICENSE; do
        if [ -e "$1/$part" ]; then echo "$part"; fi
    done
}

# Made beside, complete, then renamed: there is a release of this name only if all of it is there.
copy_release() {
    local new=$ROOT$BASE/releases/.new part file
    must rm -rf "$new"
    must mkdir -p "$new"
    for part in $(present_parts "$HERE"); do
        must cp -RL "$HERE/$part" "$new/"
        point copying
    done
    find "$new" -name __pycache__ -prune -exec rm -rf {} +
    find "$new" -name '*.pyc' -delete
    while IFS= read -r -d "" file; do
        if [ "$(head -c 2 "$file" | tr -d '\0')" = '#!' ]; then must chmod a+x "$file"; fi
    done < <(find "$new/hotplug" "$new/dom0-install.sh" -type f -print0)
    must chmod -R u+w,go-w,a+rX "$new"
    compile "$new" flush
    must mv -T "$new" "$1"
}

# A plug would pay some milliseconds for each missing .pyc. (Only here can it be told for which
# Python they are to be.)
compile() {
    live || return 0
    must "$PYTHON" -IS - "$@" <<'CODE'
import os, py_compile, sys
from importlib.util import cache_from_source
for part in ("xenvif_tagger", "vendor"):
    for where, _, files in os.walk(os.path.join(sys.argv[1], part)):
        for path in (os.path.join(where, name) for name in files if name.endswith(".py")):
            try:
                if not os.path.exists(cache_from_source(path)):
                    py_compile.compile(path, doraise=True)
            except (py_compile.PyCompileError, UnicodeDecodeError) as error:
                if part == "xenvif_tagger":
                    sys.exit(error)
                # What was vendored for another Python does not compile: never mind.
if "flush" in sys.argv:
    for where, folders, files in os.walk(sys.argv[1]):
        for path in [where] + [os.path.join(where, name) for name in files]:
            opened = os.open(path, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)
CODE
}

shipped_config() {
    if [ -n "$NAME_STOCK" ]; then
        awk -v line="stock_script = $NAME_STOCK" \
            '/^#stock_script =/ { print line; next } { print }' "$HERE/hotplug/xenvif-tagger.conf"
    else
        cat "$HERE/hotplug/xenvif-tagger.conf"
    fi
}

setting_text() {
    cat <<TEXT
# Written by dom0-install.sh of xenvif-tagger, and taken away by its --uninstall. xenopsd reads
# every file in this directory: leave no copy of this one here.
setup-vif-rules=$HOOK
TEXT
}

# The lines of LINKS; links here: those that this release has and this host takes.
links() {
    local file path
    while read -r file path; do
        if [ -z "$file" ]; then continue; fi
        if [ $# = 0 ] || { [ -e "$HERE/hotplug/$file" ] && [ -d "$ROOT${path%/*}" ]; }; then
            printf '%s %s\n' "$file" "$path"
        fi
    done <<<"$LINKS"
}

is_linked() { [ "$(readlink "$ROOT$2")" = "$BASE/hotplug/$1" ]; }

# Whether the links in $BASE are all there.
linked() {
    local part
    for part in $PARTS; do
        if [ -e "$HERE/$part" ] && [ "$(readlink "$ROOT$BASE/$part")" != "current/$part" ]; then
            return 1
        fi
    done
}

install() {
    local name release path old part file text hash again=0 code=0 watcher=0
    refuse_if_unfit
    release=$(release_name "$HERE")
    path=$ROOT$BASE/releases/$release
    old=$(readlink "$ROOT$BASE/current")

    # 1. What uninstall must know.
    if [ ! -f "$STATE" ] || [ "$(state_get stock)" != "$STOCK" ] ||
        [ "$(state_get flavour)" != "$FLAVOUR" ]; then
        if step "note down in $BASE/state: stock script $STOCK"; then
            part=""
            [ -d "$ROOT${BASE%/*}" ] || part=${BASE%/*}
            must mkdir -p "$ROOT$BASE"
            [ -z "$part" ] || state_add made "$part"
            state_only flavour "$FLAVOUR"
            state_only stock "$STOCK"
            point state
        fi
    fi

    # 2. The new release, beside the one in use; 3. into use by one rename. A plug that is under
    # way keeps the one that it began with: the last but one is deleted only in the end.
    # (One that was damaged is not repaired, it may be in use: another is put beside it.)
    name=$release
    case $old in
        "releases/$name".*) if [ "$(release_name "$ROOT$BASE/$old")" = "$name" ]; then
            release=${old#releases/} path=$ROOT$BASE/$old
        fi ;;
    esac
    while [ -d "$path" ] && [ "$(release_name "$path")" != "$name" ]; do
        again=$((again + 1)) release=$name.$again path=$ROOT$BASE/releases/$name.$again
    done
    if [ ! -d "$path" ]; then
        if step "copy xenvif-tagger $release into $BASE"; then
            copy_release "$path"
            point release
        fi
    elif [ $DRY = 0 ]; then
        compile "$path" # for a Python that is new since; does nothing where all is there
    fi
    if [ "$old" != "releases/$release" ] && step "put $release into use"; then
        link "releases/$release" "$ROOT$BASE/current"
        point current
    fi

    # 4. The links, there and to there.
    if ! linked && step "make the links in $BASE"; then
        for part in $PARTS; do
            if [ -e "$HERE/$part" ]; then link "current/$part" "$ROOT$BASE/$part"; fi
        done
        point links-inside
    fi
    while read -r file path; do
        if ! is_linked "$file" "$path" && step "link $path"; then
            link "$BASE/hotplug/$file" "$ROOT$path"
            point links
        fi
    done < <(links here)
    while read -r file path; do # what this release has no more
        if is_linked "$file" "$path" && [ ! -e "$HERE/hotplug/$file" ] && step "remove $path"; then
            must rm -f "$ROOT$path"
        fi
    done < <(links)

    # 5. The config file.
    if [ ! -e "$ROOT$CONFIG" ] || is_our_config; then
        text=$(shipped_config)
        hash=$(sha256sum <<<"$text" | cut -d' ' -f1)
        if [ "$hash" != "$(hash_of "$ROOT$CONFIG")" ] && step "write $CONFIG"; then
            state_add config "$hash"
            point config-noted
            put "$text" "$ROOT$CONFIG" "$ROOT$CONFIG.new"
            point config-written
            state_only config "$hash"
            point config
        fi
    fi

    # 6. The watcher, with the config that it reads at its start.
    install_service "$release" || watcher=1

    if [ $FLAVOUR = libxl ]; then
        if [ "$(readlink "$ROOT$LIBXL_LINK")" != "$BASE/hotplug/vif-openvswitch-tagger" ] &&
            step "link the hook: $LIBXL_LINK"; then
            link "$BASE/hotplug/vif-openvswitch-tagger" "$ROOT$LIBXL_LINK"
            point libxl-link
        fi
    else
        # Nothing may name the hook before it can be run.
        [ $DRY = 1 ] || { [ -f "$ROOT$BASE/current/hotplug/setup-vif-rules" ] &&
            [ -x "$ROOT$BASE/current/hotplug/setup-vif-rules" ]; } ||
            die "$HOOK can't be run: nothing names it yet"
        install_setting
        if live; then
            restart
            code=$?
            point restart
            [ $code != 1 ] || take_setting_back
            # 9. VIFs plugged before that.
            rewrite_keys "$STOCK" "$HOOK" || die "xenstore can't be reached: VIFs that are plugged" \
                "now are not covered until they are unplugged or this is run again"
            [ $DRY = 1 ] || point keys
        fi
    fi

    # 10. What an upgrade leaves, but for the release that was in use until now.
    for path in "$ROOT$BASE/releases"/* "$ROOT$BASE/releases"/.new; do
        case $path in
            */"$release" | "$ROOT$BASE/${old:-releases/$release}" | *'/*') continue ;;
        esac
        if [ -e "$path" ] && step "remove ${path#"$ROOT"}"; then must rm -rf "$path"; fi
    done
    [ $DRY = 1 ] || point tidy

    [ $STEPS != 0 ] || say "nothing to do"
    if [ $FLAVOUR = libxl ]; then
        say "to use it for a guest: script=vif-openvswitch-tagger in its vif line (xl), or" \
            "<script path='$LIBXL_LINK'/> in its interface (libvirt)"
    fi
    if [ $code = 4 ]; then
        say "$UNIT has not read the setting yet. When no VM is being started, stopped or migrated:" \
            "run this again, or xe-toolstack-restart. Until then new VIFs are plugged as before"
    fi
    [ $watcher = 0 ] || die "the watcher does not run: systemctl status $SERVICE. All else is done;" \
        "run this again once that is mended"
    [ $code != 4 ] || [ $NO_RESTART = 1 ] || exit $RESTART_LATER
}

# 7. The setting.
install_setting() {
    local other new same=1
    setting_text | cmp -s - "$ROOT$SETTING" || same=0
    if [ $same$DRY = 01 ]; then WOULD_CHANGE=1; fi
    if [ $same = 0 ] && step "write the setting $SETTING"; then
        state_add setting "$SETTING"
        make_directory "$CONF_DIR"
        point setting-noted
        # Every file in there is read, and one that goes away meanwhile stops xenopsd from
        # starting: so the new file is made elsewhere, beside the directory.
        new=${CONF_DIR%/*}/.$SETTING_NAME.new
        rm -f "$UNREAD"
        put "$(setting_text)" "$ROOT$SETTING" "$ROOT$new"
        point setting-written
        if live; then note_unread; fi
        point setting
    fi
    # The unit may have been told of another directory since.
    while IFS= read -r other; do
        if [ "$other" != "$SETTING" ] && step "remove the setting $other, which is not read"; then
            must rm -f "$ROOT$other"
            state_del setting "$other"
        fi
    done < <(state_get setting)
}

take_setting_back() {
    warn "$UNIT does not run with the new setting, so I take that back"
    remove_setting
    systemctl reset-failed "$UNIT" >/dev/null 2>&1
    systemctl restart "$UNIT"
    if [ "$(running)" = none ]; then die "$UNIT does not run without it either: journalctl -u $UNIT"; fi
    die "$UNIT runs again, without it; nothing else was taken back (--uninstall does that)"
}

# ---- uninstall --------------------------------------------------------------------------------

uninstall() {
    local code=0 marks=0 file path stock running=0
    [ "$(state_get flavour)" = "" ] || FLAVOUR=$(state_get flavour)
    stock=$(state_get stock | tail -n 1)
    [ -n "$stock" ] && [ -x "$ROOT$stock" ] || stock=${STOCK:-$stock}
    if [ -n "${BY_HAND:-}" ]; then
        refuse "$BY_HAND names our hook in setup-vif-rules: without it xenopsd could not start." \
            "Take that line out first"
    fi

    # 1. The setting, 2. so that no xenopsd has it, 3. and no VIF that is plugged.
    remove_setting
    [ $DRY = 1 ] || point setting
    if live && [ "$FLAVOUR" != none ] && { have xenstore-ls || [ -e "$BASE" ]; }; then
        running=1
        if [ -n "$(state_get setting)" ] || [ -f "$UNREAD" ] || [ $WOULD_CHANGE = 1 ]; then
            restart
            code=$?
            point restart
            [ $code != 1 ] || die "$UNIT does not run since it was restarted: journalctl -u $UNIT"
        fi
        if [ "$FLAVOUR" = xenopsd ]; then path=$HOOK; else path=$LIBXL_LINK; fi
        rewrite_keys "$path" "$stock" || die "xenstore can't be reached, and VIFs that are plugged may" \
            "name the hook: it stays. Run this again"
        [ $DRY = 1 ] || point keys
        if [ $code = 4 ]; then
            say "$UNIT still has the old setting, and would plug VIFs with our hook: so the hook" \
                "stays. When no VM is being started, stopped or migrated, run this again" \
                "(before or after xe-toolstack-restart)"
            exit $RESTART_LATER
        fi
    fi
    # 4. The watcher; 5. nothing writes marks any more.
    remove_service
    if [ $running = 1 ]; then
        remove_marks || marks=$MARKS_LEFT
        [ $DRY = 1 ] || point marks
    fi

    # 6. The links; 7. the config file; 8. the rest.
    if [ "$(readlink "$ROOT$LIBXL_LINK")" = "$BASE/hotplug/vif-openvswitch-tagger" ] &&
        step "remove $LIBXL_LINK: guests whose config names it can't be started"; then
        must rm -f "$ROOT$LIBXL_LINK"
        point libxl-link
    fi
    while read -r file path; do
        if is_linked "$file" "$path" && step "remove $path"; then
            must rm -f "$ROOT$path"
            point links
        fi
    done < <(links)
    if [ -n "$(state_get config)" ] && [ -e "$ROOT$CONFIG" ]; then
        if is_our_config; then
            if step "remove $CONFIG"; then
                must rm -f "$ROOT$CONFIG"
                point config
            fi
        else
            say "$CONFIG was changed since it was installed: it stays"
        fi
    fi
    remove_files

    if [ $STEPS = 0 ]; then say "nothing to do: nothing of it is here"; fi
    if [ $marks != 0 ]; then
        warn "the database can't be reached: our marks are still in it. They do nothing; to take" \
            "them out later: for p in \$(ovs-vsctl --bare --columns=_uuid find Port" \
            "'external_ids:xenvif-tagger!=\"\"'); do ovs-vsctl remove Port \$p external_ids" \
            "xenvif-tagger; done"
    fi
    exit $marks
}

remove_files() {
    local made=() new=() file path
    while read -r file path; do
        new+=("$ROOT$path.new")
    done < <(links)
    # What an interrupted run may have left beside what it was to become.
    for path in "$ROOT$CONFIG.new" "$ROOT$LIBXL_LINK.new" "$ROOT$SERVICE_FILE.new" \
        "$ROOT$SERVICE_LINK.new" ${SETTING:+"$ROOT${CONF_DIR%/*}/.$SETTING_NAME.new"} \
        "${new[@]}"; do
        if { [ -e "$path" ] || [ -L "$path" ]; } && step "remove ${path#"$ROOT"}"; then
            must rm -f "$path"
        fi
    done
    mapfile -t made < <(state_get made | sort -r)
    for path in "${made[@]+"${made[@]}"}"; do
        if [ -d "$ROOT$path" ] && [[ $BASE != "$path"/* ]] && step "remove $path, if empty"; then
            rmdir "$ROOT$path" 2>/dev/null
            point made
        fi
    done
    if { [ -e "$ROOT$BASE" ] || [ -L "$ROOT$BASE" ]; } && step "remove $BASE"; then
        # The state goes last: a second run may need it.
        must find "$ROOT$BASE" -mindepth 1 -maxdepth 1 ! -name state -exec rm -rf {} +
        point files
        must rm -rf "$ROOT$BASE"
        for path in "${made[@]+"${made[@]}"}"; do
            if [[ $BASE == "$path"/* ]]; then rmdir "$ROOT$path" 2>/dev/null; fi
        done
        point base
    fi
}

# ---- check ------------------------------------------------------------------------------------

# expect WHAT COMMAND...: OK if the command succeeds.
expect() {
    local what=$1
    shift
    if "$@" >/dev/null 2>&1; then
        say "OK       $what"
    else
        say "MISSING  $what"
        ALL=1
    fi
}

# shellcheck disable=SC2317 # called by expect
config_is_good() {
    (cd / && "$PYTHON" -IS - "$BASE/current" "$CONFIG" <<'CODE'
import sys
sys.path.insert(0, sys.argv[1])
from xenvif_tagger import config
problems = config.read(sys.argv[2])[1]
sys.exit("\n".join(problems) or None)
CODE
    )
}

# shellcheck disable=SC2317 # called by expect
compiled() {
    "$PYTHON" -IS - "$BASE/current/xenvif_tagger" <<'CODE'
import os, sys
from importlib.util import cache_from_source
for name in os.listdir(sys.argv[1]):
    if name.endswith(".py"):
        os.stat(cache_from_source(os.path.join(sys.argv[1], name)))
CODE
}

# shellcheck disable=SC2317 # called by expect
hook_counts() {
    [ -z "$OVERRIDES" ] && [ "$(values setup-vif-rules "$ROOT$SETTING")" = "$HOOK" ]
}

# shellcheck disable=SC2317 # called by expect
no_key_with() { [ -z "$(keys_with "$1" || echo failed)" ]; }

check() {
    local file path
    ALL=0
    if [ "$FLAVOUR" = none ]; then
        refuse "this is not a dom0: there is neither xenopsd nor $LIBXL_STOCK"
    fi
    expect "the stock script${STOCK:+ $STOCK}" test -x "$ROOT$STOCK"
    if [ "$FLAVOUR" = xenopsd ]; then
        expect "the hook $HOOK" test -f "$ROOT$BASE/current/hotplug/setup-vif-rules" \
            -a -x "$ROOT$BASE/current/hotplug/setup-vif-rules"
    else
        expect "the hook $LIBXL_LINK" test -x "$ROOT$BASE/current/hotplug/vif-openvswitch-tagger" \
            -a -L "$ROOT$LIBXL_LINK"
    fi
    expect "the package in $BASE" test -f "$ROOT$BASE/current/xenvif_tagger/__init__.py"
    if live; then
        expect "the package is compiled for $PYTHON" compiled
        expect "the command $COMMAND runs" "$COMMAND" --version
        expect "the config file $CONFIG is there, and has no mistakes" config_is_good
    else
        expect "the config file $CONFIG" test -f "$ROOT$CONFIG"
    fi
    while read -r file path; do
        expect "the link $path" is_linked "$file" "$path"
    done < <(links here)
    if has_systemd; then
        expect "the watcher's unit $SERVICE_FILE" service_there
        expect "the watcher is enabled" service_enabled
        ! live || expect "the watcher runs, and is of the release in use" service_runs
    fi
    if [ "$FLAVOUR" = xenopsd ]; then
        expect "the setting $SETTING, and it counts" hook_counts
        if live; then
            expect "$UNIT has read the setting" eval "[ -f '$UNREAD' ] && ! is_unread"
            expect "all VIFs that are plugged have the hook in xenstore" no_key_with "$STOCK"
        fi
    fi
    exit $ALL
}

# ---- all together -----------------------------------------------------------------------------

main() {
    local action=install
    ROOT="" DRY=0 NO_RESTART=0 WAIT=60 STEPS=0 WOULD_CHANGE=0
    while [ $# -gt 0 ]; do
        case $1 in
            install) action=install ;;
            --uninstall) action=uninstall ;;
            --check) action=check ;;
            --dry-run) DRY=1 ;;
            --no-restart) NO_RESTART=1 ;;
            --root | --wait)
                [ $# -gt 1 ] || refuse "$1 takes a value: see --help"
                if [ "$1" = --root ]; then ROOT=$2; else WAIT=$2; fi
                [ "$1$2" != --root ] || refuse "--root takes a directory: see --help"
                shift ;;
            --root=?*) ROOT=${1#*=} ;;
            --wait=*) WAIT=${1#*=} ;;
            -h | --help) usage; exit 0 ;;
            *) refuse "$1: unknown: see --help" ;;
        esac
        shift
    done
    [[ $WAIT =~ ^[0-9]{1,6}$ ]] || refuse "--wait takes a number of seconds, not $WAIT"
    if [ -n "$ROOT" ]; then
        [ -d "$ROOT" ] || refuse "--root $ROOT: there is no such directory"
        ROOT=$(cd "$ROOT" && pwd -P)
        [ "$ROOT" != / ] || refuse "--root / is the running system: leave it out"
    else
        [ "$(id -u)" = 0 ] || refuse "only root can do this"
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/xensource/bin
    fi
    HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd -P)
    STATE=$ROOT$BASE/state
    UNREAD=$ROOT$BASE/unread

    if [ $DRY = 0 ] && [ $action != check ]; then
        # A directory that is there anyway: a lock file of our own would have to stay.
        exec 9<"$ROOT/etc" || refuse "there is no $ROOT/etc"
        flock -n 9 || { warn "another run of this script is under way"; exit $LOCKED; }
    fi
    look_around
    case $action in
        install) install ;;
        uninstall) uninstall ;;
        check) check ;;
    esac
}

main "$@"
exit
