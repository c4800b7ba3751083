#!/usr/bin/env bash
# Stands in for Pi-hole's installer in boot tests: the same ways in, the same order of work, the same files put into
# place, no package and no download. Every call is a line in /var/lib/pihole-recorder/calls.jsonl.
#
# What pihole-installer of overlays/pihole relies on, and where the real one (pi-hole/pi-hole,
# "automated install/basic-install.sh", v6.2.2 and development of 2025-11-17, commit
# de444407a90ad7e80ffeb6310cfe6522d0cd93cf) has it:
#   SKIP_INSTALL=true   sourcing defines functions and does not run main; flags are read while sourcing, from "$@"
#   --repair            clone_or_reset_repos resets both repositories where they are (git reset --hard), pulls nothing
#   --unattended        without dialogs; they are only shown in a fresh installation anyway
#   pihole.toml exists  check_fresh_install: then this is an update, without dialogs and without a made-up password
#   adlists.list exists installDefaultBlocklists leaves it alone
#   FTLdetect           called by main with two arguments; it is what downloads FTL, and may be replaced
#   main                creates the user, hands /etc/pihole to it, installs scripts and unit, upgrades gravity, enables
#                       and restarts pihole-FTL, runs gravity as the user pihole, ends with `pihole version`
# shellcheck disable=SC2034  # names of the real one
set -e

PI_HOLE_LOCAL_REPO=/etc/.pihole
webInterfaceDir=/var/www/html/admin
PI_HOLE_INSTALL_DIR=/opt/pihole
PI_HOLE_BIN_DIR=/usr/local/bin
fresh_install=true

repair=false
runUnattended=false
for var in "$@"; do
    case "$var" in
        --repair) repair=true ;;
        --unattended) runUnattended=true ;;
    esac
done

note() {
    python3 -c '
import json, os, sys, time
names = ("APT_CONFIG", "DEBIAN_FRONTEND", "HOME", "USER", "TERM", "LC_ALL", "SKIP_INSTALL")
pairs = (word.split("=", 1) for word in sys.argv[2:])
print(json.dumps({"at": round(time.time(), 1), "argv": [sys.argv[1]], "environment": {n: os.environ[n] for n in names if n in os.environ}, **dict(pairs)}))
' "$@" >>/var/lib/pihole-recorder/calls.jsonl
}

check_fresh_install() {
    if [[ -f /etc/pihole/pihole.toml || -f /etc/pihole/setupVars.conf ]]; then
        fresh_install=false
    fi
}

resetRepo() { git -C "$1" reset --hard; }

clone_or_reset_repos() {
    # A real clone would need the internet.
    [[ "$repair" == true ]] || { echo "without --repair both repositories would be pulled"; exit 1; }
    resetRepo "$PI_HOLE_LOCAL_REPO"
    resetRepo "$webInterfaceDir"
}

create_pihole_user() {
    getent group pihole >/dev/null || groupadd pihole
    id -u pihole >/dev/null 2>&1 || useradd -r --no-user-group -g pihole -s "$(command -v nologin || echo /usr/sbin/nologin)" pihole
}

FTLdetect() {
    echo "FTL would be downloaded: $1"
    return 1
}

installPihole() {
    install -Dm755 -t "$PI_HOLE_INSTALL_DIR" "$PI_HOLE_LOCAL_REPO/gravity.sh"
    install -Dm755 -t "$PI_HOLE_BIN_DIR" "$PI_HOLE_LOCAL_REPO/pihole"
    chown -R pihole:pihole /etc/pihole
    install -T -m 0644 "$PI_HOLE_LOCAL_REPO/advanced/Templates/pihole-FTL.systemd" /etc/systemd/system/pihole-FTL.service
    install -T -m 0755 "$PI_HOLE_LOCAL_REPO/advanced/Templates/pihole-FTL-prestart.sh" "$PI_HOLE_INSTALL_DIR/pihole-FTL-prestart.sh"
    systemctl daemon-reload
}

main() {
    [[ $EUID -eq 0 ]] || { echo "not root"; exit 1; }
    check_fresh_install
    note basic-install.sh "main=$*" "repair=$repair" "unattended=$runUnattended" "fresh_install=$fresh_install" \
        "resolvers=$(sed -n 's/^nameserver //p' /etc/resolv.conf | tr '\n' ' ')"
    [[ "$fresh_install" == false ]] || { echo "a fresh installation would ask questions"; exit 1; }
    [[ "$runUnattended" != true ]] || export DEBIAN_FRONTEND=noninteractive
    [[ -f /etc/pihole/adlists.list ]] || { echo "the default block list would be written"; exit 1; }
    clone_or_reset_repos
    create_pihole_user
    if ! FTLdetect pihole-FTL-arm64 "  [✓] Detected AArch64 (64 Bit ARM) architecture"; then
        echo "FTL Engine not installed"
        exit 1
    fi
    installPihole
    "$PI_HOLE_INSTALL_DIR/gravity.sh" --upgrade
    systemctl -q enable pihole-FTL
    systemctl -q restart pihole-FTL
    # sudo is on Raspberry Pi OS; the real one uses it, too.
    sudo -u pihole bash "$PI_HOLE_INSTALL_DIR/gravity.sh" --force
    "$PI_HOLE_BIN_DIR/pihole" version
}

if [[ "$SKIP_INSTALL" != true ]]; then
    main "$@"
fi
