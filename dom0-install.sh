#!/bin/bash
# Puts xenvif-tagger into a dom0, and takes it out again. See --help, and docs/install.md.
#
# The order of the steps is the point. xenopsd does not start if its setting setup-vif-rules names
# a file that is missing or not executable, and a VIF whose xenstore key names one can't be plugged
# or unplugged. So the hook is there before anything names it, and goes after nothing does; each
# change is one rename; and what uninstall must know is written down before it is done. Killed at
# any point, the host works, and a second run completes or undoes it.
#
# Here are the options and the messages; all else is in dom0-install.d, beside where this file
# really lies.

set -u -o pipefail
export LC_ALL=C # xenopsd sorts the files of its directory by their bytes
umask 022

NAME=dom0-install

# shellcheck disable=SC2034 # the last two are for install.sh and uninstall.sh
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
     3.6, a setup-vif-rules in Python 2 (XCP-ng 8.2 and older), Linux bridge, a bundle (or what
     was installed of it) that is not whole, ...
  3  another run of this script is under way
  4  done but for the restart of xenopsd: it has tasks in progress, or --uninstall --no-restart
     was asked for. Run it again later. (After --uninstall the hook's files stay until then.)
  5  uninstalled, but our marks are still in the database, which can't be reached
TEXT
}

warn() { printf '%s: %s\n' "$NAME" "$*" >&2; }
refuse() { warn "$*"; exit $REFUSED; }

main() {
    local action="" file
    ROOT="" DRY=0 NO_RESTART=0 WAIT=60
    while [ $# -gt 0 ]; do
        case $1 in
            install | --uninstall | --check)
                [ "${action:-${1#--}}" = "${1#--}" ] || refuse "$1 or $action? See --help"
                action=${1#--} ;;
            --dry-run) DRY=1 ;;
            --no-restart)
                # shellcheck disable=SC2034 # for setting.sh
                NO_RESTART=1 ;;
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
    WAIT=$((10#$WAIT))
    if [ -n "$ROOT" ]; then
        [ -d "$ROOT" ] || refuse "--root $ROOT: there is no such directory"
        ROOT=$(readlink -f "$ROOT")
        [ "$ROOT" != / ] || refuse "--root / is the running system: leave it out"
    else
        [ "$(id -u)" = 0 ] || refuse "only root can do this"
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/xensource/bin
    fi
    HERE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
    # All of it before anything is done: --uninstall removes these very files. The last line says
    # that none was cut off in copying.
    for file in steps files xenopsd config look setting xenstore database watcher release \
        install uninstall check; do
        file=$HERE/dom0-install.d/$file.sh
        # shellcheck disable=SC1090 # each is checked by itself
        { [ "$(tail -n 1 "$file")" = "# end of ${file##*/}" ] && source "$file"; } 2>/dev/null ||
            refuse "$file is missing or damaged: unpack the whole bundle anew"
    done

    if [ $DRY = 0 ] && [ "$action" != check ]; then
        # A directory that is there anyway: a lock file of our own would have to stay.
        { exec 9<"$ROOT/etc"; } 2>/dev/null || refuse "there is no $ROOT/etc"
        flock -n 9 || { warn "another run of this script is under way"; exit $LOCKED; }
    fi
    look_around
    "${action:-install}"
}

# One line: bash would read the next one only afterwards, from whatever is in this file by then.
main "$@"; exit
