# bash completion for tuma. Flags come from the command's own --help.
_tuma() {
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "$(tuma --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p') --help --version" -- "$word"))
    elif [[ $word == --* ]]; then
        COMPREPLY=($(compgen -W "$(tuma "$command" --help 2>/dev/null | sed -n 's/^  \(--[a-z0-9-]*\).*/\1/p')" -- "$word"))
    elif [[ $command == token || $command == secret || $command == scripts || $command == bench ]] && [ "$COMP_CWORD" = 2 ]; then
        local verbs
        case $command in
            token) verbs="create list revoke" ;;
            secret) verbs="set list remove" ;;
            scripts) verbs="list show top profile pause resume disable release" ;;
            bench) verbs="template events scripts store courier" ;;
        esac
        COMPREPLY=($(compgen -W "$verbs" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}
complete -F _tuma tuma
