#!/bin/sh
# What can be said about the scripts of the roles without booting one: shellcheck, the status report and (test_scripts.py)
# the longer scripts in a scratch folder. Needs shellcheck, python3, curl, git and openssl. The role `backup`
# (test_backup.py) needs root, rsync and sshd; Go and apt for the bucket.
set -eu
cd "$(dirname "$0")/../.."

scripts=$(find overlays -path '*/root/usr/lib/imgbuild/*' -type f ! -path '*/roles.d/*' ! -name '*.conf' ! -name '*.j2' ! -name '*.py' ! -name pihole-ask \
    -exec grep -L '^#!/usr/bin/python3' {} +)
# shellcheck disable=SC2086  # a list
shellcheck -s dash $scripts
shellcheck overlays/pihole/root/usr/lib/imgbuild/pihole-ask tests/roles/check.sh
shellcheck -x tests/roles/build-versitygw tests/roles/debian-restic

top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
export IMGBUILD_ROOT="$top"
report() { sh overlays/common/root/usr/lib/imgbuild/report "$@" >/dev/null; }
status=$top/boot/firmware/imgbuild-status.txt
expect() { grep -q "$1" "$status" || { echo "no '$1' in:"; cat "$status"; exit 1; }; }

mkdir -p "$top/usr/lib/imgbuild/roles.d" "$top/etc" "$top/boot/firmware" "$top/var/lib/imgbuild"
echo bondsmith >"$top/etc/hostname"
: >"$top/usr/lib/imgbuild/roles.d/base"
: >"$top/usr/lib/imgbuild/roles.d/samba"

: >"$top/var/lib/imgbuild/base.done"
report base 'done' here
expect 'first boot of bondsmith'
expect '^samba  *not yet'
expect '^1 of 2 done$'
report samba waiting "two
lines"
expect '^samba  *waiting .* two lines$'
: >"$top/var/lib/imgbuild/samba.done"
report samba 'done' ready
expect '^samba  *done .* ready$'
expect '^all done$'
[ "$(grep -c '^samba' "$status")" -eq 1 ]

# No boot partition is no failure.
rm -r "${top:?}/boot"
report samba 'done' again

(cd tests/roles && python3 -B -m unittest -q test_scripts)
# Disks of the share are mounted where nobody else sees them, and sshd is started. What is built is built as who is here.
tests/roles/build-versitygw >/dev/null || true
for suite in bookworm trixie; do tests/roles/debian-restic "$suite" >/dev/null || true; done
as_root=''
if [ "$(id -u)" -ne 0 ]; then
    as_root='sudo -n'
fi
# shellcheck disable=SC2086  # no word, or two
if $as_root true; then
    (cd tests/roles && $as_root env HOME="$HOME" PATH="$PATH:/usr/sbin:/sbin" IMGBUILD_TEST_REQUIRE="${IMGBUILD_TEST_REQUIRE-}" \
        IMGBUILD_TEST_FULL="${IMGBUILD_TEST_FULL-}" \
        unshare --mount python3 -B -m unittest -q test_backup)
else
    echo "skipped: the backup's tests need root" >&2
    [ -z "${IMGBUILD_TEST_REQUIRE-}" ]
fi

echo "roles: scripts and report are fine"
