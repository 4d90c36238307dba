#!/bin/sh
set -e
sh newer.sh 2.0 1.0
! sh newer.sh 1.0 2.0
! sh newer.sh 1.0 1.0
echo fine
