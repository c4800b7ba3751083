#!/usr/bin/env bash
# Stands in for the script of the same name in pi-hole/pi-hole: nobody calls it.
exit 1
