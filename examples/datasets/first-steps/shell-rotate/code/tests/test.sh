#!/bin/sh
set -e
cd "$(mktemp -d)"
echo one >log
sh "$OLDPWD/rotate.sh" log 3
[ "$(cat log.1)" = one ] && [ ! -e log ]
echo fine
