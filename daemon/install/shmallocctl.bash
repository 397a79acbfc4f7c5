# bash completion for shmallocctl                                          -*- shell-script -*-

_shmallocctl_heaps() {
        local file dir=${SHMALLOC_DIR:-/dev/shm}
        for file in "$dir"/shmalloc.*; do
                [ -e "$file" ] && printf '%s\n' "${file#"$dir"/shmalloc.}"
        done
}

_shmallocctl() {
        local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]-} options=
        local verbs='ls stat top clients map check reap purge dump explain roots rm'

        COMPREPLY=()
        if [ "$COMP_CWORD" -eq 1 ]; then
                mapfile -t COMPREPLY < <(compgen -W "$verbs --help --version" -- "$cur")
                return
        fi
        case $verb in
        ls) options='--bytes --json --socket --help' ;;
        stat) options='--bytes --json --openmetrics --totals --help' ;;
        top) options='--interval --count --socket --help' ;;
        clients) options='--bytes --json --help' ;;
        map) options='--svg --html --lines --help' ;;
        check) options='--quiescent --json --help' ;;
        purge) options='--node --help' ;;
        dump) options='--save --full --help' ;;
        explain) options='--ref --json --help' ;;
        roots) options='--bytes --json --help' ;;
        rm) options='--force --stale --help' ;;
        *) options='--help' ;;
        esac
        case $cur in
        --*=*) mapfile -t COMPREPLY < <(compgen -f -- "${cur#*=}") ;;
        -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur") ;;
        */*) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        *)
                case $prev in
                --svg | --html | --save | --socket | -s | -o) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
                *) [ "$verb" = ls ] || mapfile -t COMPREPLY < <(compgen -W "$(_shmallocctl_heaps)" -- "$cur") ;;
                esac
                ;;
        esac
}

complete -F _shmallocctl shmallocctl
