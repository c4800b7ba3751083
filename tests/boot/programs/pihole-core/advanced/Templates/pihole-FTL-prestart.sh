#!/usr/bin/env sh
# Stands in for the script of the same name in pi-hole/pi-hole: what FTL writes to belongs to its user.
set -eu
mkdir -p /var/log/pihole
chown -R pihole:pihole /etc/pihole /var/log/pihole
find /etc/pihole /var/log/pihole -type d -exec chmod 0755 {} +
find /etc/pihole /var/log/pihole -type f -exec chmod 0640 {} +
