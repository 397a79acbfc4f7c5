# What zsh completes: zsh -f zsh_complete.zsh FOLDER WORDS...
#
# FOLDER has the function _shmallocctl.  The words are typed in a shell of its own, then a tab, and taken back again; each
# match is printed on a line of its own, behind the words and a tab.  compadd, which every completion ends in, names them.
zmodload zsh/zpty
setup='
PROMPT= RPROMPT=
fpath=('${(q)1}' $fpath)
autoload -Uz compinit && compinit -D -u
compdef _shmallocctl shmallocctl
unsetopt flow_control zle_bracketed_paste 2>/dev/null
show() {
        compadd() {
                local -a hits
                if [[ " $* " == *" -"(O|A|D)" "* ]]; then
                        builtin compadd "$@"
                        return
                fi
                builtin compadd -A hits "$@"
                (( $#hits )) && print -rl -- "match: "$^hits
                builtin compadd "$@"
        }
        _main_complete
        print "end of matches"
}
zle -C show complete-word show
bindkey "^I" show
print is_""ready
'
zpty shell zsh -f -i
zpty -w shell "$setup"
zpty -r -m shell line $'*is_ready\r*' || exit 1
for words in "${@[2,-1]}"; do
        zpty -w -n shell "$words"$'\t'
        zpty -r -m shell line '*end of matches*' || exit 1
        print -r -- "${line//$'\r'/}" | sed -n 's/^.*match: //p' | sort -u | while read -r match; do
                print -r -- "$words"$'\t'"$match"
        done
        zpty -w -n shell $'\C-u'
done
zpty -d shell
