#!/usr/bin/env bash
# Stands in for Pi-hole's gravity.sh: the block lists become what FTL blocks.
set -e
case "$1" in
    --upgrade) exit 0 ;; # there is no database to upgrade
    --force) ;;
    *) echo "gravity.sh: this stand-in does not know $1"; exit 1 ;;
esac
/usr/bin/pihole-FTL gravity
# The real one asks FTL to read the lists again; here that is dnsmasq, which belongs to the same user.
pkill -HUP -u pihole -x dnsmasq || true
