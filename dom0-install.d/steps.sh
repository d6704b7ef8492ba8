# shellcheck shell=bash
# The functions with which a step is announced and done, and with which a run is given up. Needs
# ROOT, DRY.

STEPS=0

say() { printf '%s\n' "$*"; }
die() { warn "$*"; exit "$FAILED"; }

# step WHAT: announces a step. True if the caller is to do the step, false with --dry-run.
step() {
    STEPS=$((STEPS + 1))
    if [ "$DRY" = 1 ]; then say "would $*"; return 1; fi
    say "$*"
}

# point NAME: marks a place at which the tests kill this script.
point() {
    if [ "${XENVIF_TAGGER_INSTALL_STOP_AFTER:-}" = "$1" ]; then kill -9 $$; fi
}

must() { "$@" || die "stopped, because this command failed: $*"; }

live() { [ -z "$ROOT" ]; }

have() { command -v "$1" >/dev/null 2>&1; }

# end of steps.sh
