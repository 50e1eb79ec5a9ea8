# Completion of reuseaddr for bash. The command itself knows what may stand where.
_reuseaddr() {
    local rest=$COMP_LINE words=() starts=() at word answer line
    # Bash splits words at = and : as well: put together what no blank parts, and keep where each begins.
    for ((at = 0; at <= COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        if ((at == 0)) || [[ $rest == [[:blank:]]* ]]; then
            rest=${rest#"${rest%%[![:blank:]]*}"}
            words+=("$word")
            starts+=("$at")
        else
            words[${#words[@]} - 1]+=$word
        fi
        rest=${rest#"$word"}
    done
    local current=${words[${#words[@]} - 1]}
    COMPREPLY=()
    mapfile -t answer < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
    case ${answer[0]-} in
    :files)
        compopt -o default
        ;;
    ":command "*)
        at=${answer[0]#:command }
        if declare -F _command_offset >/dev/null; then
            _command_offset "${starts[at]}"
        elif ((at == ${#words[@]} - 1)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$current")
        else
            compopt -o default
        fi
        ;;
    *)
        for line in "${answer[@]}"; do
            COMPREPLY+=("${line%%$'\t'*}")
        done
        # What is replaced begins after the last = or :.
        if [[ $current == *=* && $COMP_WORDBREAKS == *=* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${current%%=*}="}")
        elif [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*:}"}"}")
        fi
        ;;
    esac
}
complete -F _reuseaddr reuseaddr
