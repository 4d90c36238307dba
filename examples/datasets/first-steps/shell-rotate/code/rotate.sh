#!/bin/sh
# rotate.sh FILE COUNT: keeps COUNT old versions of a file.
file=$1
count=$2

[ -n "$file" ] && [ "$count" -gt 0 ] || { echo "usage: rotate.sh FILE COUNT" >&2; exit 2; }
[ -e $file ] || exit 0

number=1
while [ $number -lt $count ]; do
    next=$((number + 1))
    [ -e $file.$number ] && mv $file.$number $file.$next
    number=$next
done
mv $file $file.1
