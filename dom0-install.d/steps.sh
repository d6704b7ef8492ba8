# shellcheck shell=bash
# How a step is told, done and given up. Needs ROOT, DRY.

STEPS=0

say() { printf '%s\n' "$*"; }
die() { warn "$*"; exit "$FAILED"; }

# step WHAT: true if it is to be done; with --dry-run only told.
step() {
    STEPS=$((STEPS + 1))
    if [ "$DRY" = 1 ]; then say "would $*"; return 1; fi
    say "$*"
}

# point NAME: the tests kill us at each of these.
point() {
    if [ "${XENVIF_TAGGER_INSTALL_STOP_AFTER:-}" = "$1" ]; then kill -9 $$; fi
}

must() { "$@" || die "this failed, so I stop here: $*"; }

live() { [ -z "$ROOT" ]; }

have() { command -v "$1" >/dev/null 2>&1; }

# end of steps.sh
