#!/usr/bin/env bash
# Stands in for Pi-hole's gravity.sh, which downloads the block lists again: there is no internet in boot tests.
echo "No DNS resolution available"
exit 1
