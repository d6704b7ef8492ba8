"""The commands of the made-up dom0 (see install_host.py), as scripts."""

# This script reads the config as xenopsd does, fails where xenopsd would not start, and prints the
# setup-vif-rules that xenopsd would run.
XENOPSD = r'''#!/usr/bin/python3 -IS
import os, re, sys

options = {"config": "/etc/xenopsd-xc.conf", "config-dir": "/etc/xenopsd-xc.conf.d",
           "search-path": "", "setup-vif-rules": "setup-vif-rules"}
words = sys.argv[1:]
while words:
    word = words.pop(0)
    name, equals, value = word[2:].partition("=")
    assert word.startswith("--") and name in options, word
    options[name] = value if equals else words.pop(0)

def read(path):
    with open(path) as stream:  # (a directory, or a link to nothing: an exception)
        for line in stream:
            found = re.search(r"([^=\\ \t]+)[\\ \t]*=[\\ \t]*(.*)",
                              re.sub("[ \t]+$", "", line.rstrip("\n").split("#")[0]))
            if found and found.group(1) in options:
                value = found.group(2)
                if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                    value = value[1:-1]
                if found.group(1) == "search-path" and options["search-path"]:
                    value += ":" + options["search-path"]
                options[found.group(1)] = value

if os.path.exists(options["config"]):
    read(options["config"])
if os.path.isdir(options["config-dir"]):
    for name in sorted(os.listdir(options["config-dir"])):
        read(os.path.join(options["config-dir"], name))
path = options["setup-vif-rules"]
if not path.startswith("/"):
    for place in "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin".split(":") + (
            options["search-path"].split(":")):
        if os.path.exists(os.path.join(place, path)):
            path = os.path.join(place, path)
            break
if not os.access(path, os.X_OK):
    sys.exit("Cannot access " + path)
if os.path.exists("/lab/broken") and path != "/usr/libexec/xenopsd/setup-vif-rules":
    sys.exit("xenopsd can't start, for another reason")
print(path)
'''
# /lab/unit: the properties of xenopsd's unit, as KEY=VALUE lines that a shell can read too; this
# script prints the properties as systemd does.
# /lab/loaded: our own unit as systemd has read it. /lab/watcher: the pid of the unit's process.
SYSTEMCTL = r'''#!/bin/bash
echo "systemctl $*" >>/lab/calls
action=$1 unit=${!#} file=/usr/lib/systemd/system/${!#}.service
. /lab/unit
values() {
    [ -f "$file" ] || return 0
    while IFS= read -r line; do [[ $line != "$1="* ]] || echo "${line#*=}"; done <"$file"
}
start() {
    command=$(values ExecStart | tail -n 1)
    set -a
    for path in $(values EnvironmentFile); do . "${path#-}"; done
    eval "exec $command" 2>&1
}
show() {
    case $1 in
        LoadState) [ -f "$file" ] && echo LoadState=loaded || echo LoadState=not-found ;;
        ExecStart) while IFS= read -r line; do
            echo "ExecStart={ path=x ; argv[]=$line ; ignore_errors=no ; start_time=[n/a] ;$(
            ) stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }"; done < <(values ExecStart) ;;
        Environment) echo "Environment=$(values Environment)" ;;
        EnvironmentFiles) while IFS= read -r line; do
            echo "$FILES=${line#-} (ignore_errors=yes)"; done < <(values EnvironmentFile) ;;
        *) echo "$1=${!1}" ;;
    esac
}
ours() {
    local file=/etc/systemd/system/xenvif-tagger.service pid=
    [ ! -e /lab/watcher ] || read -r pid </lab/watcher
    if [ ! -e /lab/loaded ] && [ -e $file ]; then cp $file /lab/loaded; fi
    case $action in
        show)
            if [ -n "$pid" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi
            echo "MainPID=${pid:-0}"
            if [ ! -e /lab/loaded ] || cmp -s $file /lab/loaded; then echo NeedDaemonReload=no
            else echo NeedDaemonReload=yes; fi
            return ;;
        reset-failed) return ;;
    esac
    if [ ! -e /lab/loaded ]; then echo "Unit xenvif-tagger.service not loaded." >&2; return 5; fi
    if [ -n "$pid" ]; then kill "$pid"; rm /lab/watcher; fi
    [ $action = restart ] || return 0
    [ ! -e /lab/watcher-broken ] || return 1
    cd "$(sed -n 's/^WorkingDirectory=//p' /lab/loaded)" || return 1
    [ -x "$(sed -n 's/^ExecStart=\([^ ]*\) watch$/\1/p' /lab/loaded)" ] || return 1
    sleep infinity >/dev/null 2>&1 </dev/null 9<&- &
    echo $! >/lab/watcher
}
case $unit in
    xenvif-tagger.service) ours; exit ;;
    daemon-reload)
        rm -f /lab/loaded
        cp /etc/systemd/system/xenvif-tagger.service /lab/loaded 2>/dev/null
        exit 0 ;;
esac
case $action in
    show) while [ $# -gt 1 ]; do shift; if [ "$1" = -p ]; then show "$2"; fi; done ;;
    try) start ;;
    restart)
        if RUNS=$(start); then ActiveState=active MainPID=$NEXT
        else ActiveState=failed MainPID=0; fi
        printf '%s\n' ActiveState=$ActiveState MainPID=$MainPID RUNS="'$RUNS'" FILES=$FILES \
            NEXT=$((NEXT + 1)) ExecMainStartTimestampMonotonic=${NEXT}000 >/lab/unit ;;
esac
'''
# /lab/xenstore: the keys, as PATH VALUE lines.
XENSTORE = r'''#!/bin/sh
if [ -e /lab/xenstore-down ]; then echo "${0##*/}: xs_open: could not connect" >&2; exit 1; fi
case $0 in
    *-ls)
        [ "$1" = -f ] || exit 9
        sed -n "s|^\($2/[^ ]*\) \(.*\)|\1 = \"\2\"|p" /lab/xenstore | grep . && exit
        echo "xenstore-ls: xs_directory ($2): No such file or directory" >&2; exit 1 ;;
    *-read) sed -n "s|^$1 ||p" /lab/xenstore | grep . ;;
    *-write)
        { grep -v "^$1 " /lab/xenstore; echo "$1 $2"; } >/lab/xenstore.new
        mv /lab/xenstore.new /lab/xenstore
        echo "xenstore-write $1 $2" >>/lab/calls ;;
esac
'''
# Each call prints the next answer; when no answer is left, each call prints the last answer again.
TASKS = r'''#!/bin/sh
set -- /lab/"${0##*/}"/*
cat "$1" && { [ $# = 1 ] || rm "$1"; }
'''
HOLD = r'''set -e
base=$1 ovs=$2 upper=$3
mount -t tmpfs none "$base/mem"
mkdir "$base/mem/upper" "$base/mem/work" "$base/mem/root"
[ -z "$upper" ] || cp -a "$upper" "$base/mem"
cp -a "$base/dom0" "$base/mem" # one layer may not lie within the other
mount -t overlay none "$base/mem/root" \
    -o "lowerdir=$base/mem/dom0:/,upperdir=$base/mem/upper,workdir=$base/mem/work"
cd "$base/mem/root"
mount --rbind /proc proc
mount --rbind /dev dev
mount -t tmpfs none sys
mkdir -p sys/module/openvswitch
mount -t tmpfs none run
mount -t tmpfs none tmp
mkdir -p run/openvswitch run/systemd/system
mount --bind "$base/lab" lab
mount --bind "$base/bundle" bundle
mount --bind "$ovs" run/openvswitch
echo ready
read -r line || true
'''
STOCK_TEXT = "#!/usr/bin/python3\nimport common\n"
TASK_DONE = '12       20261122T10:27:57Z VM.start R:1|x ["Completed",{"duration":1.0}]\n'
TASK_PENDING = '13       20261122T10:27:57Z VM.start R:2|x                ["Pending",0.5]\n'
TASK_FAILED = ('14       20261122T10:27:57Z VM.start R:3|x ["Failed","x"]\n'
               '  |_ Vif.add                        ["Pending",0.0]\n')
