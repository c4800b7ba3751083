#!/usr/bin/env sh
# Stands in for the script of the same name in pi-hole/pi-hole: what FTL writes to belongs to its user.
set -eu
. /opt/pihole/utils.sh
[ "$(getFTLConfigValue files.pid)" = /run/pihole-FTL.pid ]
mkdir -p /var/log/pihole
chown -R pihole:pihole /etc/pihole /var/log/pihole
find /etc/pihole /var/log/pihole -type d -exec chmod 0755 {} +
find /etc/pihole /var/log/pihole -type f -exec chmod 0640 {} +
chmod 0644 /etc/pihole/versions
chown root:root /etc/pihole/logrotate
