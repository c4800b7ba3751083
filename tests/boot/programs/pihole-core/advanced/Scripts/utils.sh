#!/usr/bin/env sh
# Stands in for the functions that Pi-hole's scripts share.
getFTLConfigValue() {
    pihole-FTL --config -q "$1"
}
