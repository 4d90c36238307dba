#!/bin/sh
# newer.sh A B: succeeds if version A is newer than version B.
for version in "$1" "$2"; do
    case $version in
        '' | .* | *. | *..* | *[!0-9.]*) echo "newer.sh: not a version: $version" >&2; exit 2 ;;
    esac
done

[ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | LC_ALL=C sort | tail -n 1)" = "$1" ]
