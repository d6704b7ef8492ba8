# Completion in bash: click computes the answers, and this script hands them to bash. bash-completion
# reads this file at the first TAB after the word xenvif-tagger, and at no login. click's own script
# is not used, because it needs bash 4.4 and dom0 has 4.2 (XenServer 8, XCP-ng 8.3). If anything
# fails, nothing is printed and nothing completed.

_xenvif_tagger() {
    local answer words line=${COMP_LINE:0:COMP_POINT}
    # (bash's own COMP_WORDS would have unix:/a/socket as three words.)
    read -ra words <<<"$line"
    if [[ $line == *[[:blank:]] ]]; then words+=(""); fi
    COMPREPLY=()
    while IFS= read -r answer; do
        case $answer in
            plain,*) COMPREPLY+=("${answer#plain,}") ;;
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) \
        _XENVIF_TAGGER_COMPLETE=bash_complete "$1" 2>/dev/null)
}

complete -F _xenvif_tagger xenvif-tagger
