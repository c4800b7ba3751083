# shellcheck shell=sh
# For the first-boot scripts of the roles: `. /usr/lib/imgbuild/firstboot.sh`, then
#
#   begin ROLE          sets the role up to report how it ends; after failed tries it waits first, longer each time
#   step MESSAGE        says what is being done; the message of a failure names the last step
#   finish MESSAGE      leaves the stamp that keeps the unit from running again
#
# Every script must be safe to run again from its first line: power can go at any time.
# (The waiting is done here because RestartSteps= is unknown to the systemd of Bookworm.)

first_pause=10
longest_pause=600

begin() {
    firstboot_role=$1
    firstboot_step=starting
    mkdir -p /run/imgbuild /var/lib/imgbuild
    trap 'firstboot_exit $?' EXIT
    trap 'firstboot_stopped=yes; exit 143' TERM INT HUP

    firstboot_tries=$(cat "/run/imgbuild/$firstboot_role.tries" 2>/dev/null || echo 0)
    echo $((firstboot_tries + 1)) >"/run/imgbuild/$firstboot_role.tries"
    if [ "$firstboot_tries" -gt 0 ]; then
        firstboot_pause=$first_pause
        firstboot_n=1
        while [ "$firstboot_n" -lt "$firstboot_tries" ] && [ "$firstboot_pause" -lt "$longest_pause" ]; do
            firstboot_pause=$((firstboot_pause * 2))
            firstboot_n=$((firstboot_n + 1))
        done
        [ "$firstboot_pause" -le "$longest_pause" ] || firstboot_pause=$longest_pause
        sleep "$firstboot_pause"
    fi
}

step() {
    firstboot_step=$*
    /usr/lib/imgbuild/report "$firstboot_role" running "$firstboot_step"
}

finish() {
    mkdir -p /var/lib/imgbuild
    : >"/var/lib/imgbuild/$firstboot_role.done"
    sync "/var/lib/imgbuild/$firstboot_role.done" /var/lib/imgbuild
    /usr/lib/imgbuild/report "$firstboot_role" "done" "$*"
    firstboot_step=
}

# give_up MESSAGE: nothing more to do in this boot, and no reason to try again before the next one.
give_up() {
    /usr/lib/imgbuild/report "$firstboot_role" waiting "$*"
    firstboot_step=
    exit 0
}

firstboot_exit() {
    trap - EXIT
    if [ "$1" -ne 0 ] && [ -z "${firstboot_stopped-}" ]; then
        /usr/lib/imgbuild/report "$firstboot_role" waiting \
            "try $((firstboot_tries + 1)) failed at: $firstboot_step (will try again; journalctl -u imgbuild-$firstboot_role)"
    fi
    exit "$1"
}
