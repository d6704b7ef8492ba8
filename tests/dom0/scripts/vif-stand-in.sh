# shellcheck shell=bash
# The part that libxl's hotplug scripts share: sets `device` and `action` from the script's arguments
# and environment, and ends the script where there is nothing to do.

exec 2>>/var/log/xen/xen-hotplug.log
export PATH="/usr/bin:/usr/sbin:/usr/lib/xen/bin:/sbin:/bin:$PATH" LANG=POSIX
set -e

log() {
    local level=$1
    shift
    logger -p "daemon.$level" -- "$0:" "$@" || echo "$0 $*" >&2
}

fail() {
    write "$XENBUS_PATH/hotplug-error" "$*" "$XENBUS_PATH/hotplug-status" error
    log err "$@"
    exit 1
}

must() { "$@" || fail "$* failed"; }

quietly() { "$@" 2>/dev/null || log debug "$* failed"; }

read_or() { xenstore-read "$1" 2>/dev/null || echo "$2"; }

read_key() {
    local value
    value=$(xenstore-read "$1" || true)
    [ -n "$value" ] || fail "xenstore-read $1 failed."
    echo "$value"
}

write() {
    log debug "Writing $* to xenstore."
    xenstore-write "$@"
}

trap 'fail "$0 failed; error detected."' ERR
log debug "$@" "XENBUS_PATH=$XENBUS_PATH"

action='' type_if=vif
for argument; do
    case $argument in
        type_if=*) type_if=${argument#*=} ;;
        *=*) ;;
        *) action=${action:-$argument} ;;
    esac
done
case $action:$type_if in
    online:vif | offline:vif)
        device=${vif:?}
        : "${XENBUS_PATH:?}"
        ;;
    add:tap | remove:tap)
        device=${INTERFACE:?}
        number=${device#vif}
        number=${number%-emu}
        XENBUS_PATH=/local/domain/0/backend/vif/${number%.*}/${number#*.}
        ;;
    online:tap | offline:tap | add:vif | remove:vif) exit 0 ;;
    *)
        log err "Invalid command: $*"
        exit 1
        ;;
esac

vifname=$(read_or "$XENBUS_PATH/vifname" "")
if [ -n "$vifname" ]; then
    [ "$type_if" = vif ] || vifname=$vifname-emu
    case $action in
        online | add) must ip link set "$device" name "$vifname" ;;
    esac
    # shellcheck disable=SC2034 # used by the script that sources this file
    device=$vifname
fi
