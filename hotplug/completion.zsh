#compdef xenvif-tagger
# Completion in zsh: click computes the answers, and this script hands them to zsh. The script of
# click 8.0 is not used, because that script completes nothing at the first TAB.

local -a answers plain described
local kind value about

answers=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
    _XENVIF_TAGGER_COMPLETE=zsh_complete $words[1] 2>/dev/null)}")
for kind value about in "${answers[@]}"; do
    case $kind in
        plain) if [[ $about == _ ]]; then plain+=("$value"); else described+=("$value:$about"); fi ;;
        file) _files ;;
        dir) _files -/ ;;
    esac
done
(( ! $#described )) || _describe -V xenvif-tagger described
(( ! $#plain )) || compadd -V unsorted -a plain
