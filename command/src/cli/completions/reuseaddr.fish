# Completion of reuseaddr for fish. The command itself knows what may stand where.
function __reuseaddr_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer ($words[1] complete -- $words[2..] $current 2>/dev/null)
    switch "$answer[1]"
        case :files
            __fish_complete_path $current
        case ':command *'
            set -l program (math (string replace ':command ' '' -- $answer[1]) + 1)
            set -l rest
            if test $program -le (count $words)
                set rest (string escape -- $words[$program..])
            end
            complete -C (string join ' ' -- $rest $current)
        case '*'
            string join \n -- $answer
    end
end
complete -c reuseaddr -f -a '(__reuseaddr_complete)'
