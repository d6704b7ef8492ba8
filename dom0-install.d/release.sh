# shellcheck shell=bash
# A release, which is a copy of the bundle in $BASE/releases, and the links to its files. Needs
# files.sh, HERE.

PYTHON=/usr/bin/python3 # the hook's first line names the same Python, as xapi's own scripts do
PARTS="hotplug xenvif_tagger vendor dom0-install.sh" # of a release; $BASE has a link to each part
COMMAND=/usr/bin/xenvif-tagger

# Each line has a file of $BASE/hotplug, and the link to that file which the shell, man, xen-bugtool
# or XAPI reads. A link is made only if its directory is there: otherwise the host lacks the program
# that would read the link.
# (For zsh: the directory of Fedora and XenServer 9, and that of Debian.)
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

# release_name DIR: the name of the release in DIR: its version, and a hash over all its files.
release_name() {
    local version parts
    mapfile -t parts < <(present_parts "$1")
    version=$(sed -n 's/^__version__ = "\([A-Za-z0-9.+]*\)"$/\1/p' "$1/xenvif_tagger/__init__.py")
    printf '%s-%s\n' "${version:-0}" "$(
        cd "$1" && find -L "${parts[@]}" -name __pycache__ -prune -o -type f ! -name '*.pyc' \
            -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12)"
}

# present_parts DIR: prints the parts of a release that DIR has. (dom0-install.d and LICENSE are
# not among PARTS, because $BASE has no link to them.)
present_parts() {
    local part
    for part in $PARTS dom0-install.d LICENSE; do
        if [ -e "$1/$part" ]; then echo "$part"; fi
    done
}

# copy_release DIR: copies the bundle to a directory beside DIR, and renames the complete copy to
# DIR. So a directory with the name of a release has all files of that release.
copy_release() {
    local new=$ROOT$BASE/releases/.new part file first scripts=()
    must rm -rf "$new"
    must mkdir -p "$new"
    for part in $(present_parts "$HERE"); do
        must cp -RL "$HERE/$part" "$new/"
        point copying
    done
    find "$new" -name __pycache__ -prune -exec rm -rf {} +
    find "$new" -name '*.pyc' -delete
    while IFS= read -r -d "" file; do
        first=""
        IFS= read -r -n 2 first <"$file"
        if [ "$first" = '#!' ]; then scripts+=("$file"); fi
    done < <(find "$new/hotplug" "$new/dom0-install.sh" -type f -print0)
    must chmod a+x "${scripts[@]}"
    must chmod -R u+w,go-w,a+rX "$new"
    compile "$new" flush
    must mv -T "$new" "$1"
}

# compile DIR [flush]: compiles the modules in DIR that are not compiled yet; with "flush", also
# writes all of DIR to the disk. (For each module without a .pyc a plug would take some milliseconds
# longer. The bundle can't bring these files: each fits one version of Python only.)
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
                # A library may have modules for other Pythons only; no plug and no command imports
                # such a module.
if "flush" in sys.argv:
    for where, folders, files in os.walk(sys.argv[1]):
        for path in [where] + [os.path.join(where, name) for name in files]:
            opened = os.open(path, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)
CODE
}

# links: prints the lines of LINKS. links here: prints only the lines whose file this release has,
# and whose directory this host has.
links() {
    local file path
    while read -r file path; do
        if [ -z "$file" ]; then continue; fi
        if [ $# = 0 ] || { [ -e "$HERE/hotplug/$file" ] && [ -d "$ROOT${path%/*}" ]; }; then
            printf '%s %s\n' "$file" "$path"
        fi
    done <<<"$LINKS"
}

# is_linked FILE PATH: whether PATH is our link to FILE.
is_linked() { leads_to "$BASE/hotplug/$1" "$ROOT$2"; }

# Whether $BASE has all its links to the parts of the release in use.
linked() {
    local part
    for part in $PARTS; do
        if [ -e "$HERE/$part" ] && ! leads_to "current/$part" "$ROOT$BASE/$part"; then
            return 1
        fi
    done
}

# end of release.sh
