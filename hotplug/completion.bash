# Completion in bash, by click. Read by bash-completion at the first TAB after xenvif-tagger, never
# at a login. Not click's own script: that is for bash 4.4, and dom0 has 4.2 (XenServer 8, XCP-ng
# 8.3). What does not work says nothing, and completes nothing.

_xenvif_tagger() {
    local answer words line=${COMP_LINE:0:COMP_POINT}
    # (Not COMP_WORDS: there unix:/a/socket is three.)
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
