# shellcheck shell=bash
# Helpers for the scripts that make test bases. Source it; it does nothing by itself.
# Rule of the house: a script's result goes to stdout, everything else to stderr.

log() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die WHAT [WHY AND WHAT TO DO]
die() {
    printf '%s: error: %s\n' "${0##*/}" "$1" >&2
    shift
    local hint
    for hint in "$@"; do printf '  hint: %s\n' "$hint" >&2; done
    exit 1
}

# cache_dir: where results live. Outside the checkout, so that `git clean` does not cost ten minutes.
cache_dir() {
    local home="${HOME:-}"
    if [[ -z "${IMGBUILD_TEST_CACHE:-}${XDG_CACHE_HOME:-}$home" ]]; then
        die "no place for the cache" "set IMGBUILD_TEST_CACHE to a writable directory"
    fi
    printf '%s\n' "${IMGBUILD_TEST_CACHE:-${XDG_CACHE_HOME:-$home/.cache}/imgbuild-test}"
}

# files_hash FILE...: 16 hex digits that change when any of the files' contents does.
files_hash() { cat -- "$@" | sha256sum | cut -c1-16; }

package_installed() {
    [[ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null)" == "ii "* ]]
}

# as_root CMD...: directly when root, through sudo otherwise.
as_root() {
    if [[ "$(id -u)" == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@" || return
    else
        return 126
    fi
}

# apt_root ARGS...: the machine's own apt-get, never asking, waiting for whoever holds the lock.
apt_root() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@" >&2
}

# need_packages PKG...: installs what is missing with apt.
need_packages() {
    local pkg missing=()
    command -v dpkg-query >/dev/null ||
        die "this is not a Debian or Ubuntu machine" "these scripts need dpkg and apt; run them in a Debian container"
    for pkg in "$@"; do
        package_installed "$pkg" || missing+=("$pkg")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    log "installing ${missing[*]}"
    # Try with the package lists the machine has; they may be absent or stale, hence the second try.
    if ! apt_root install --no-install-recommends "${missing[@]}" 2>/dev/null; then
        if ! { apt_root update && apt_root install --no-install-recommends "${missing[@]}"; }; then
            die "could not install: ${missing[*]}" \
                "needs root (or sudo without a password) and a working apt" \
                "or install them by hand: apt-get install --no-install-recommends ${missing[*]}"
        fi
    fi
}

# debian_mirror: URI of a Debian mirror, or nothing. Taken from the machine's own apt configuration
# (apt reads sources.list, *.list and *.sources for us), so that no host name is written down here.
debian_mirror() {
    if [[ -n "${IMGBUILD_DEBIAN_MIRROR:-}" ]]; then
        printf '%s\n' "${IMGBUILD_DEBIAN_MIRROR%/}"
        return
    fi
    command -v apt-get >/dev/null || return 0
    # ORIGIN is known only once lists were downloaded: then it must say Debian (Raspberry Pi's and
    # others' repositories also end in /debian). The codename keeps out -security, which is elsewhere.
    # shellcheck disable=SC2016 # $(…) is apt's format syntax
    apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(REPO_URI)' 2>/dev/null |
        awk -F'|' '
            { uri = $4; sub(/\/+$/, "", uri) }
            uri !~ /^https?:/ || uri !~ /\/debian$/ { next }
            $1 != "" && $1 !~ /^Debian( Backports)?$/ { next }
            $1 == "" && uri ~ /raspberrypi|raspbian/ { next }
            !seen { seen = 1; print uri }'
}

# debian_mirror_or_default: as above, but falls back to the default that mmdebstrap carries, for
# scripts that write a sources list themselves (an Ubuntu runner has no Debian mirror configured).
debian_mirror_or_default() {
    local uri
    uri="$(debian_mirror)"
    if [[ -z "$uri" ]]; then
        need_packages mmdebstrap
        uri="$(grep -oE "https?://[a-z0-9.-]+/debian['\"]" "$(command -v mmdebstrap)" | head -n1 | tr -d "'\"")" || true
    fi
    [[ -n "$uri" ]] || die "no Debian mirror is configured on this machine" \
        "set IMGBUILD_DEBIAN_MIRROR to the URI of one"
    printf '%s\n' "$uri"
}

# debian_keyring: the file apt must verify Debian's archive with.
debian_keyring() {
    local f
    for f in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        [[ -r "$f" ]] && { printf '%s\n' "$f"; return; }
    done
    die "no Debian archive keyring" "install the package debian-archive-keyring"
}

# private_apt DIR SUITE ARCH: writes DIR/apt.conf, with which apt-get (APT_CONFIG=DIR/apt.conf) works
# on a state of its own: the host's dpkg learns no foreign architecture and its lists stay untouched.
private_apt() {
    local dir="$1" suite="$2" arch="$3" mirror keyring
    mirror="$(debian_mirror_or_default)"
    keyring="$(debian_keyring)"
    mkdir -p "$dir/lists/partial" "$dir/archives/partial"
    : > "$dir/status"
    cat > "$dir/debian.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: $suite
Components: main non-free-firmware
Signed-By: $keyring
SOURCES
    cat > "$dir/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc::SourceList "$dir/debian.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$dir";
Dir::State::Lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir";
Dir::Cache::archives "$dir/archives";
CONF
}

# with_lock FILE: holds an exclusive lock on FILE until the script ends.
with_lock() {
    mkdir -p "$(dirname "$1")"
    exec 9> "$1"
    if ! flock -n 9; then
        log "waiting for another run ($1)"
        flock 9
    fi
}

# round_up N TO
round_up() { echo $((($1 + $2 - 1) / $2 * $2)); }

# mbr_with_parted IMG ID P1_START P1_SIZE P2_START P2_SIZE (sectors). parted goes first because it
# writes boot code: with bytes 0-439 zero, the `parted resizepart` of the first boot would replace the
# disk id and so break every PARTUUID.
mbr_with_parted() {
    local img="$1" id="$2" s1="$3" n1="$4" s2="$5" n2="$6"
    parted -s "$img" mklabel msdos >&2
    sfdisk -q "$img" >&2 <<TABLE
label: dos
label-id: 0x$id
unit: sectors

start=$s1, size=$n1, type=c
start=$s2, size=$n2, type=83
TABLE
}

# ext4_conf FILE: a mke2fs.conf of our own, as the host's decides on features and sizes.
# What it says is Debian's; the caller adds and removes features with -O as the image's maker does.
ext4_conf() {
    cat > "$1" <<'CONF'
[defaults]
    base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
    default_mntopts = acl,user_xattr
    enable_periodic_fsck = 0
    blocksize = 4096
    inode_size = 256
    inode_ratio = 16384
[fs_types]
    small = {
        inode_ratio = 16384
    }
    floppy = {
        inode_ratio = 16384
    }
    big = {
        inode_ratio = 16384
    }
    ext4 = {
        features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
    }
CONF
}

# age EXT4 TMP: what mke2fs -d leaves different from a file system that a kernel has filled. Inodes get
# generations (every checksum depends on them) and directories get indexes, which is e2fsck's doing:
# it also mends the checksums that the new generations have invalidated. Times become $SOURCE_DATE_EPOCH,
# as mke2fs takes ctime from the staged files, where nobody can set it.
age() {
    local ext4="$1" tmp="$2" used rc=0
    used="$(dumpe2fs -h "$ext4" 2>/dev/null | awk -F: '/^Inode count/ { n = $2 } /^Free inodes/ { n -= $2 } END { print n }')"
    awk -v used="$used" -v now="@$SOURCE_DATE_EPOCH" 'BEGIN { for (n = 2; n <= used; n++) {
        if (n > 2 && n < 11) continue
        printf "sif <%d> generation %.0f\n", n, (n * 48271) % 2147483647
        printf "sif <%d> ctime %s\nsif <%d> atime %s\nsif <%d> crtime %s\n", n, now, n, now, n, now
    } }' > "$tmp/age"
    debugfs -w -f "$tmp/age" "$ext4" > "$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "debugfs failed on the new root file system"; }
    # 1: changed something
    e2fsck -fyD "$ext4" > "$tmp/log" 2>&1 || rc=$?
    [[ $rc -le 1 ]] || { tail -n 50 "$tmp/log" >&2; die "e2fsck -D failed on the new root file system (exit code $rc)"; }
    debugfs -w -f - "$ext4" > "$tmp/log" 2>&1 <<TEXT
set_current_time @$SOURCE_DATE_EPOCH
ssv lastcheck @$SOURCE_DATE_EPOCH
ssv wtime @$SOURCE_DATE_EPOCH
TEXT
}

# check_clean FAT EXT4 IMG: the three judges. Partitions as files of their own.
check_clean() {
    local fat="$1" ext4="$2" img="$3"
    fsck.vfat -n "$fat" >&2 || die "fsck.vfat finds fault with the boot partition" "see above; this is a bug of the script"
    e2fsck -fn "$ext4" >&2 || die "e2fsck finds fault with the root partition" "see above; this is a bug of the script"
    sfdisk --verify -q "$img" >&2 || die "sfdisk finds fault with the partition table" "see above; this is a bug of the script"
}

# boot_config_txt: config.txt as Raspberry Pi OS ships it.
boot_config_txt() {
    cat <<'TEXT'
# For more options and information see
# http://rptl.io/configtxt
# Some settings may impact device functionality. See link above for details

# Uncomment some or all of these to enable the optional hardware interfaces
#dtparam=i2c_arm=on
#dtparam=i2s=on
#dtparam=spi=on

# Enable audio (loads snd_bcm2835)
dtparam=audio=on

# Additional overlays and parameters are documented
# /boot/firmware/overlays/README

# Automatically load overlays for detected cameras
camera_auto_detect=1

# Automatically load overlays for detected DSI displays
display_auto_detect=1

# Automatically load initramfs files, if found
auto_initramfs=1

# Enable DRM VC4 V3D driver
dtoverlay=vc4-kms-v3d
max_framebuffers=2

# Don't have the firmware create an initial video= setting in cmdline.txt.
# Use the kernel's default instead.
disable_fw_kms_setup=1

# Run in 64-bit mode
arm_64bit=1

# Disable compensation for displays with overscan
disable_overscan=1

# Run as fast as firmware / board allows
arm_boost=1

[cm4]
# Enable host mode on the 2711 built-in XHCI USB controller.
# This line should be removed if the legacy DWC2 controller is required
# (e.g. for USB device mode) or if USB support is not required.
otg_mode=1

[cm5]
dtoverlay=dwc2,dr_mode=host

[all]
TEXT
}

# seed_files DIR: the NoCloud files of an unmodified Trixie card. `instance_id` with an underscore is
# what the image has; cloud-init does not know that key.
seed_files() {
    cat > "$1/meta-data" <<'TEXT'
# This is the meta-data configuration file for cloud-init. Please refer to the
# cloud-init documentation for more information.
dsmode: local
instance_id: rpios-image
TEXT
    cat > "$1/user-data" <<'TEXT'
#cloud-config

# This is the user-data configuration file for cloud-init. By default this is
# an empty configuration; everything below is an example.

#hostname: raspberrypi
#manage_etc_hosts: true
#timezone: Europe/London
#users:
#- name: pi
#  groups: users,adm,dialout,audio,netdev,video,plugdev,cdrom,games,input,gpio,spi,i2c,render,sudo
#  shell: /bin/bash
#  lock_passwd: false
TEXT
    cat > "$1/network-config" <<'TEXT'
# This file contains a netplan-compatible configuration which cloud-init will
# apply on first boot. Some examples are commented out below.

#network:
#  version: 2
#  ethernets:
#    eth0:
#      dhcp4: true
#      optional: true
TEXT
}

# cloud_config_rpi ROOT: what rpi-cloud-init-mods puts into the root file system.
cloud_config_rpi() {
    local root="$1" unit
    mkdir -p "$root/etc/cloud/cloud.cfg.d" "$root/usr/lib/netplan"
    cat > "$root/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg" <<'TEXT'
datasource_list: [ NoCloud, None ]
datasource:
  NoCloud:
    seedfrom: file:///boot/firmware
ssh:
  emit_keys_to_console: false
no_ssh_fingerprints: true
ssh_deletekeys: false
ssh_genkeytypes: []
TEXT
    for unit in cloud-init-main cloud-init-local; do
        mkdir -p "$root/usr/lib/systemd/system/$unit.service.d"
        printf '[Unit]\nRequiresMountsFor=/boot/firmware\n' \
            > "$root/usr/lib/systemd/system/$unit.service.d/41-rpi-firmware-mount.conf"
    done
    printf 'network:\n  version: 2\n  renderer: NetworkManager\n' > "$root/usr/lib/netplan/00-network-manager-all.yaml"
    chmod 600 "$root/usr/lib/netplan/00-network-manager-all.yaml"
}

# What the built-in roles ask for.
# shellcheck disable=SC2034 # for those who source this
readonly ROLE_PACKAGES=(samba samba-common-bin samba-vfs-modules avahi-daemon wsdd nftables bash-completion bind9-dnsutils
    ca-certificates cron curl dialog dns-root-data git iputils-ping jq lshw procps psmisc sudo unzip logrotate libcap2-bin restic rsync python3)

# claim_packages STATUS NAME...: dpkg's record says that these are there, so that a build asks no archive for them.
# What is put on the card otherwise is tested by tests/it/packages.rs and by the boots.
claim_packages() {
    local status="$1" name
    shift
    for name in "$@"; do
        grep -q "^Package: $name\$" "$status" ||
            printf '\nPackage: %s\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n' "$name" >> "$status"
    done
}
