# fish completion for shmallocctl

function __shmallocctl_heaps
        set -l dir /dev/shm
        set -q SHMALLOC_DIR; and set dir $SHMALLOC_DIR
        for file in $dir/shmalloc.*
                string replace -- $dir/shmalloc. '' $file
        end
end

# The verb comes first.
function __shmallocctl_verb
        set -l words (commandline -opc)
        test (count $words) -ge 2; and contains -- $words[2] $argv
end

function __shmallocctl_no_verb
        test (count (commandline -opc)) -eq 1
end

complete -c shmallocctl -f
complete -c shmallocctl -n __shmallocctl_no_verb -a ls -d 'The heaps on this machine'
complete -c shmallocctl -n __shmallocctl_no_verb -a stat -d 'What a heap is used for'
complete -c shmallocctl -n __shmallocctl_no_verb -a top -d 'The same, live'
complete -c shmallocctl -n __shmallocctl_no_verb -a clients -d 'Who has a heap open'
complete -c shmallocctl -n __shmallocctl_no_verb -a map -d 'A picture of the memory of a heap'
complete -c shmallocctl -n __shmallocctl_no_verb -a check -d 'Whether a heap is in order'
complete -c shmallocctl -n __shmallocctl_no_verb -a reap -d 'Settle what the dead left in a heap'
complete -c shmallocctl -n __shmallocctl_no_verb -a purge -d 'Give unused memory back to the system'
complete -c shmallocctl -n __shmallocctl_no_verb -a dump -d 'All that is in the tables of a heap'
complete -c shmallocctl -n __shmallocctl_no_verb -a explain -d 'What is at an address'
complete -c shmallocctl -n __shmallocctl_no_verb -a roots -d 'The named objects of a heap'
complete -c shmallocctl -n __shmallocctl_no_verb -a rm -d 'Remove the name of a heap'
complete -c shmallocctl -n __shmallocctl_no_verb -l version -d 'Which one it is'
complete -c shmallocctl -l help -d 'How it is used'
complete -c shmallocctl -n '__shmallocctl_verb stat top clients map check reap purge dump explain roots rm' \
        -a '(__shmallocctl_heaps)'
complete -c shmallocctl -n '__shmallocctl_verb ls stat clients check explain roots' -l json -d 'One JSON document'
complete -c shmallocctl -n '__shmallocctl_verb ls stat clients roots' -l bytes -d 'Sizes to the byte'
complete -c shmallocctl -n '__shmallocctl_verb ls top' -l socket -r -F -d 'Of the daemon'
complete -c shmallocctl -n '__shmallocctl_verb stat' -l openmetrics -d 'As Prometheus reads it'
complete -c shmallocctl -n '__shmallocctl_verb stat' -l totals -d 'The heap as a whole only'
complete -c shmallocctl -n '__shmallocctl_verb top' -l interval -x -d 'Milliseconds between two looks'
complete -c shmallocctl -n '__shmallocctl_verb top' -l count -x -d 'End after so many looks'
complete -c shmallocctl -n '__shmallocctl_verb map' -l svg -r -F -d 'As a picture'
complete -c shmallocctl -n '__shmallocctl_verb map' -l html -r -F -d 'As a page'
complete -c shmallocctl -n '__shmallocctl_verb map' -l lines -x -d 'At most so many'
complete -c shmallocctl -n '__shmallocctl_verb check' -l quiescent -d 'Nobody is using it'
complete -c shmallocctl -n '__shmallocctl_verb purge' -l node -x -d 'Of this node only'
complete -c shmallocctl -n '__shmallocctl_verb dump' -l save -r -F -d 'Copy it to a new file instead'
complete -c shmallocctl -n '__shmallocctl_verb dump' -l full -d 'Each slab and large block, too'
complete -c shmallocctl -n '__shmallocctl_verb explain' -l ref -d 'The address is a reference'
complete -c shmallocctl -n '__shmallocctl_verb rm' -l force -d 'Also if it has clients'
complete -c shmallocctl -n '__shmallocctl_verb rm' -l stale -d 'Only if it is of another layout'
