# shellcheck shell=bash
# A release, and the links to its files. Needs files.sh, HERE.

PYTHON=/usr/bin/python3 # what the first line of the hook names, as xapi's own scripts do
PARTS="hotplug xenvif_tagger vendor dom0-install.sh" # of a release, with a link each in $BASE
COMMAND=/usr/bin/xenvif-tagger

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

# The name of a release: what it says of itself, and what it is.
release_name() {
    local version parts
    mapfile -t parts < <(present_parts "$1")
    version=$(sed -n 's/^__version__ = "\([A-Za-z0-9.+]*\)"$/\1/p' "$1/xenvif_tagger/__init__.py")
    printf '%s-%s\n' "${version:-0}" "$(
        cd "$1" && find -L "${parts[@]}" -name __pycache__ -prune -o -type f ! -name '*.pyc' \
            -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12)"
}

# All that is copied; nobody looks for the last two in $BASE itself.
present_parts() {
    local part
    for part in $PARTS dom0-install.d LICENSE; do
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

# end of release.sh
