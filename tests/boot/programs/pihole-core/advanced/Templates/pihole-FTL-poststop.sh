#!/usr/bin/env sh
# Stands in for the script of the same name in pi-hole/pi-hole: FTL's leftovers go.
rm -f /run/pihole-FTL.pid
