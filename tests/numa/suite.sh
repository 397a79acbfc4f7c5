# Runs test programs one after the other, in a guest.  A name stands for a program, and says how it ended.
export CK_DEFAULT_TIMEOUT=1200
failed=0
for name; do
        if $name >"/tmp/$name.log" 2>&1; then
                tail -n 1 "/tmp/$name.log" | sed "s/^/$name: /"
        else
                echo "$name: FAILED with status $?"
                tail -n 30 "/tmp/$name.log"
                failed=$((failed + 1))
        fi
done
echo "$# programs, $failed failed"
[ $failed -eq 0 ]
