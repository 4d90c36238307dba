#!/bin/sh
# The tests of this sample. What came of them is written to /tmp/report.tap.
exec 3>/tmp/report.tap
here=$(mktemp -d)

# Usage: told NAME, after a command whose exit code says whether the test passed.
told() {
    if [ $? = 0 ]; then echo "ok - $1" >&3; else echo "not ok - $1" >&3; fi
}

cd "$here" || exit 2
echo 1..6 >&3

for content in one two three four; do
    echo $content >log
    sh /workspace/rotate.sh log 3
done
[ "$(cat log.1 log.2 log.3 2>/dev/null)" = "$(printf 'four\nthree\ntwo')" ]
told "old files keep their order"
[ ! -e log.4 ] && [ ! -e log ]
told "no more are kept than wanted"

echo content >'my log'
sh /workspace/rotate.sh 'my log' 2 && [ "$(cat 'my log.1')" = content ] && [ ! -e 'my log' ]
told "names may have spaces"

sh /workspace/rotate.sh none 2 && [ ! -e none.1 ]
told "no file is no error"
echo single >single
sh /workspace/rotate.sh single 1 && [ "$(cat single.1)" = single ]
told "one file is moved"
! sh /workspace/rotate.sh 2>/dev/null
told "arguments are needed"
