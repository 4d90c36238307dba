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
newer() { sh /workspace/newer.sh "$1" "$2" 2>/dev/null; }

newer 1.10 1.9 && ! newer 1.9 1.10 && newer 10 9.9.9
told "numbers are compared as numbers"
! newer 1.2 1.2.0 && ! newer 1.2.0 1.2 && newer 1.2.1 1.2 && ! newer 1.2 1.2.1
told "missing numbers are zero"
! newer 1.08 1.8 && newer 1.09 1.8 && ! newer 1.8 1.09
told "zeros in front count for nothing"

newer 2.0 1.0 && ! newer 1.0 2.0
told "simple versions are compared"
! newer 1.0 1.0
told "the same is not newer"
failed=0
for wrong in '' a 1..2 .1 1. 1-2; do
    newer "$wrong" 1.0
    [ $? = 2 ] || failed=1
done
[ $failed = 0 ]
told "what is no version is refused"
