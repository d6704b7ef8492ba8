#!/bin/bash
# Installs xenvif-tagger into a dom0, and uninstalls it. See --help, and docs/install.md.
#
# The steps must keep their order. xenopsd does not start if its setting setup-vif-rules names a
# file that is missing or not executable, and a VIF whose xenstore key names such a file can be
# neither plugged nor unplugged. So the hook is in place before any setting or key names the hook,
# and is removed only when no setting and no key names the hook any more. Each change is one rename.
# Each change that uninstall must undo is noted in the state file before the change is made. If this
# script is killed at any point, the host works, and a second run completes or undoes the first.
#
# This file has the options and the usage text. The rest is in the directory dom0-install.d beside
# this file. (A symbolic link to this script is followed first.)

set -u -o pipefail
export LC_ALL=C # xenopsd sorts the names in its config directory by their bytes; so must we
umask 022

NAME=dom0-install

# shellcheck disable=SC2034 # RESTART_LATER and MARKS_LEFT are used in install.sh and uninstall.sh
FAILED=1 REFUSED=2 LOCKED=3 RESTART_LATER=4 MARKS_LEFT=5

usage() {
    cat <<'TEXT'
Usage: dom0-install.sh [install | --uninstall | --check] [OPTION]...

Installs xenvif-tagger into this dom0, from the directory that this script is in. The supported
hosts are XenServer 8 and 9, XCP-ng 8.3 and 9, and hosts that have libxl (xl, libvirt) and no
xenopsd.

  install         install, or upgrade in place (this is the default)
  --uninstall     leave the host as it was before
  --check         say of each piece whether it is OK or MISSING
  --dry-run       print the steps that would be done, and change nothing
  --no-restart    don't restart xenopsd: it reads the new setting at its next start. (The watcher
                  is started nevertheless.)
  --wait SECONDS  how long to wait until xenopsd has no task in progress (default: 60)
  --root DIR      install the files below DIR (an image of a dom0, say); don't look at the running
                  system, and don't change it
  -h, --help      print this text

An installation puts these on the host:
  /opt/xenvif-tagger           the hook, the command, the package, and the notes for --uninstall
  /usr/bin/xenvif-tagger       a link to the command; and links to its man page, its completions,
                               and its plugins for xen-bugtool and XAPI, where the host has the
                               directories for them
  /etc/xenvif-tagger.conf      the config file, if the host has none yet
  /etc/systemd/system/xenvif-tagger.service    the watcher, enabled and started
  .../zz-xenvif-tagger.conf    setup-vif-rules=<our hook>, in the directory that xenopsd reads
  /xapi/*/private/vif/*/setup-vif-rules in xenstore: our hook, for VIFs that are plugged now
On a host with libxl, the last two are replaced by:
  /etc/xen/scripts/vif-openvswitch-tagger    a link to the hook, for script= of a guest's vif

xenopsd is restarted once, when it has no task in progress. Running VMs are not touched.

--uninstall removes all of these, and removes our marks (external_ids:xenvif-tagger of Ports) from
the database. A config file stays if it was there before the installation or was changed since.
Ports that are held stay held: --uninstall prints their names, and the command that opens one.
With libxl, a stub that runs the stock script stays as long as a guest's config names our hook;
--uninstall prints which configs name the hook. Once none does, --uninstall again removes the stub.

If a run was interrupted, run the script again: an install completes the steps that were begun,
--uninstall undoes them. While one run is under way, any other run is refused.

Exit status:
  0  done, or nothing to do; with --check: all is there
  1  a step failed, and the message says which one (the host works; run the script again); with
     --check: something is missing
  2  wrong usage, or the host is not fit and nothing was changed: not root, not a dom0, Python
     older than 3.6, a setup-vif-rules in Python 2 (XCP-ng 8.2 and older), the Linux bridge
     instead of Open vSwitch, an incomplete bundle or an incomplete installation, ...
  3  another run of this script is under way
  4  all is done but the restart of xenopsd: xenopsd has tasks in progress or can't be asked for
     them, or --uninstall was given with --no-restart. Run the script again later. (After
     --uninstall the hook's files stay until then.)
  5  uninstalled, but our marks are still in the database, because it can't be reached
TEXT
}

warn() { printf '%s: %s\n' "$NAME" "$*" >&2; }
refuse() { warn "$*"; exit $REFUSED; }

main() {
    local action="" file lines
    ROOT="" DRY=0 NO_RESTART=0 WAIT=60
    while [ $# -gt 0 ]; do
        case $1 in
            install | --uninstall | --check)
                [ "${action:-${1#--}}" = "${1#--}" ] ||
                    refuse "$1 and $action can't be given together: see --help"
                action=${1#--} ;;
            --dry-run) DRY=1 ;;
            --no-restart)
                # shellcheck disable=SC2034 # used in setting.sh
                NO_RESTART=1 ;;
            --root | --wait)
                [ $# -gt 1 ] || refuse "$1 takes a value: see --help"
                if [ "$1" = --root ]; then ROOT=$2; else WAIT=$2; fi
                [ "$1$2" != --root ] || refuse "--root takes a directory: see --help"
                shift ;;
            --root=?*) ROOT=${1#*=} ;;
            --wait=*) WAIT=${1#*=} ;;
            -h | --help) usage; exit 0 ;;
            *) refuse "$1: unknown argument: see --help" ;;
        esac
        shift
    done
    [[ $WAIT =~ ^[0-9]{1,6}$ ]] || refuse "--wait takes a number of seconds, not $WAIT"
    WAIT=$((10#$WAIT))
    if [ -n "$ROOT" ]; then
        [ -d "$ROOT" ] || refuse "--root $ROOT: there is no such directory"
        ROOT=$(readlink -f "$ROOT")
        [ "$ROOT" != / ] || refuse "--root / names the running system: leave it out"
    else
        [ "$(id -u)" = 0 ] || refuse "only root can install and uninstall: run this script as root"
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/xensource/bin
    fi
    HERE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
    # All files of dom0-install.d are read before any step is done, because --uninstall removes
    # these files. The last line of each file shows that the file was not cut off in copying.
    for file in steps files xenopsd config look libxl setting xenstore database watcher \
        release install uninstall check; do
        file=$HERE/dom0-install.d/$file.sh
        # shellcheck disable=SC1090 # shellcheck reads each of these files by itself
        { [ -s "$file" ] && mapfile -t lines <"$file" &&
            [ "${lines[*]: -1}" = "# end of ${file##*/}" ] && source "$file"; } 2>/dev/null ||
            refuse "$file is missing or damaged: unpack the whole bundle anew"
    done

    if [ $DRY = 0 ] && [ "$action" != check ]; then
        # The lock is taken on a directory that every host has: a lock file of our own would have
        # to stay after --uninstall.
        { exec 9<"$ROOT/etc"; } 2>/dev/null || refuse "there is no $ROOT/etc"
        flock -n 9 || { warn "another run of this script is under way"; exit $LOCKED; }
    fi
    look_around
    "${action:-install}"
}

# Both commands stand in one line, because bash reads a script line by line: after main bash would
# read the next line from a file that an upgrade may have replaced.
main "$@"; exit
