#compdef reuseaddr
# Completion of reuseaddr for zsh. The command itself knows what may stand where.
_reuseaddr() {
    local -a answer shown
    local line word meaning
    answer=("${(@f)$("${(Q)words[1]}" complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    case ${answer[1]} in
    :files)
        _files
        ;;
    :command\ *)
        local program=${answer[1]#:command }
        shift $program words
        ((CURRENT -= program))
        _normal
        ;;
    *)
        for line in $answer; do
            word=${line%%$'\t'*}
            meaning=${line#*$'\t'}
            # Without a meaning no colon: `_describe` would print a dash for it.
            shown+=("${word//:/\\:}${meaning:+:$meaning}")
        done
        _describe reuseaddr shown
        ;;
    esac
}
if [ "$funcstack[1]" = _reuseaddr ]; then
    _reuseaddr "$@"
else
    compdef _reuseaddr reuseaddr
fi
