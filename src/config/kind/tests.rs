//! What each kind takes and refuses.

use super::kinds::Kind;
use crate::config::value::Value;

/// `kind`, what it takes, what it refuses.
#[track_caller]
fn judge(kind: Kind, good: &[&str], bad: &[&str]) {
    for text in good {
        let checked = kind.check(&Value::Text((*text).to_owned()));
        assert_eq!(checked, Ok(()), "{kind:?} {text:?}");
    }
    for text in bad {
        let checked = kind.check(&Value::Text((*text).to_owned()));
        assert!(checked.is_err(), "{kind:?} takes {text:?}");
    }
}

#[test]
fn addresses() {
    judge(
        Kind::Address,
        &["10.0.0.1"],
        &["10.0.0.256", "10.0.0", "::1", "10.0.0.1/24", " 10.0.0.1"],
    );
    judge(
        Kind::AnyAddress,
        &["10.0.0.1", "fd00::1"],
        &["x", "fd00::g", "0.0.0.0", "::"],
    );
    judge(
        Kind::AddressOrName,
        &[
            "10.0.0.1",
            "fd00::1",
            "pool.ntp.org",
            "master",
            "0.debian.pool.ntp.org",
        ],
        &[
            "...",
            "https://x",
            "a b",
            "10.0.0.300",
            "0.0.0.0",
            "-x",
            "a..b",
        ],
    );
    judge(
        Kind::Resolver,
        &["9.9.9.9", "127.0.0.1#5335", "2620:fe::fe", "2620:fe::fe#53"],
        &[
            "9.9.9.9:5353",
            "tls://9.9.9.9",
            "google",
            "9.9.9.9#dns",
            "9.9.9.9#+53",
            "9.9.9.9#0",
            "0.0.0.0",
        ],
    );
    judge(
        Kind::Cidr,
        &["10.0.0.0/24"],
        &["10.0.0.1/24", "10.0.0.0", "10.0.0.0/33"],
    );
    judge(
        Kind::AnyNetwork,
        &["192.168.1.0/24", "10.1.2.3", "fd00::/8", "fd00::1"],
        &[
            "192.168.1.0/33",
            "....",
            "beef",
            "300.1.1.1/99",
            "192.168.1.7/24",
            "fd00::1/64",
            "fe80::/200",
            "fd00::/+8",
            "fd00::/08",
        ],
    );
    judge(
        Kind::Mac,
        &["AA:bb:CC:00:11:22"],
        &["AA:BB:CC:00:11", "AA-BB-CC-00-11-22", "gg:bb:cc:00:11:22"],
    );
    judge(
        Kind::Size,
        &["512MiB", "16GiB", "17"],
        &["99999999999GiB", "GiB", "1.5GiB", "10GB"],
    );
}

#[test]
fn ports_and_percentages() {
    for n in [1, 65_535] {
        assert_eq!(Kind::Port.check(&Value::Integer(n)), Ok(()));
    }
    for n in [0, -1, 65_536] {
        assert!(Kind::Port.check(&Value::Integer(n)).is_err(), "{n}");
    }
    assert!(Kind::Percent.check(&Value::Integer(101)).is_err());
    assert!(Kind::Integer.check(&Value::Text("5".into())).is_err());
}

#[test]
fn names() {
    judge(
        Kind::Hostname,
        &["bondsmith", "node-1", "a", "1up"],
        &[
            "localhost",
            "raspberrypi",
            "ip6-loopback",
            "Big",
            "a.b",
            "-a",
            "a-",
            "",
            "123",
            "under_score",
        ],
    );
    judge(
        Kind::Domain,
        &[
            "home.lab",
            "lan",
            "home.arpa",
            "internal",
            "home.example.org",
        ],
        &[
            "local",
            "x.local",
            "cluster.local",
            "tail1234.ts.net",
            "10",
            "a.10",
            "com",
            "dev",
            "github.com",
            "docker.io",
            "raw.githubusercontent.com",
            "deb.debian.org",
            "co.uk",
            "home.0x10",
            "localhost",
            "in-addr.arpa",
            "a..b",
            ".lab",
            "lab.",
        ],
    );
    let long = format!("{0}.{0}.{0}.{0}.lab", "a".repeat(62));
    judge(Kind::Domain, &[], &[&long]);
    judge(
        Kind::UserName,
        &["pi", "my_user", "alice", "_x"],
        &[
            "root", "dnsmasq", "gpio", "users", "tss", "statd", "Bob", "1a", "a b",
        ],
    );
    judge(
        Kind::GroupName,
        &["sudo", "i2c", "_ssh"],
        &["", "a b", "a:b"],
    );
    judge(
        Kind::HostRecord,
        &[
            "10.0.0.9 printer",
            "fd00::9 printer printer.home.lab",
            "0.0.0.0 ads.example.com",
        ],
        &[
            "printer 10.0.0.9",
            "10.0.0.999 foo",
            "10.0.0.9",
            "10.0.0.9 a..b",
        ],
    );
    judge(
        Kind::Cname,
        &["nas,bondsmith", "nas.lab,bondsmith.lab"],
        &[
            "nas",
            "a,",
            "a,b\nserver=/x/",
            "a b,c",
            "a,a",
            "a,b,c",
            "github.com,x",
        ],
    );
    judge(
        Kind::FixedLease,
        &[
            "AA:BB:CC:DD:EE:FF,10.0.0.9",
            "AA:BB:CC:DD:EE:FF,10.0.0.9,printer",
        ],
        &[
            "printer",
            "nonsense,,,",
            "AA:BB:CC:DD:EE:FF",
            "AA:BB:CC:DD:EE:FF,printer,10.0.0.9",
        ],
    );
}

#[test]
fn places() {
    judge(
        Kind::TimeZone,
        &[
            "Europe/Berlin",
            "Etc/UTC",
            "UTC",
            "America/Argentina/Ushuaia",
        ],
        &["CEST", "Europe/Berln", "europe/berlin", "", "Europe"],
    );
    judge(
        Kind::Locale,
        &[
            "en_GB.UTF-8",
            "C.UTF-8",
            "de_DE.UTF-8",
            "de_DE.ISO-8859-1",
            "ca_ES.UTF-8",
        ],
        &[
            "de",
            "de-DE.UTF-8",
            "en_UK.UTF-8",
            "sv_SV.UTF-8",
            "no_NO.UTF-8",
            "en_GB",
            "ca_ES.UTF-8@valencia",
            "en_GB.utf8",
            "en_GB.UTF8",
        ],
    );
    judge(
        Kind::Keyboard,
        &["gb", "us", "us,de", "latam"],
        &["uk", "en", "de-latin1", "us,"],
    );
    judge(
        Kind::Country,
        &["GB", "DE"],
        &["UK", "EN", "ZZ", "gb", "GBR"],
    );
}

#[test]
fn kubernetes() {
    judge(
        Kind::Label,
        &[
            "a=b",
            "a=",
            "example.com/role=x",
            "node.kubernetes.io/x=y",
            "topology.kubernetes.io/zone=a",
            "kubernetes.io/os=linux",
            "kubernetes.io/arch=arm64",
        ],
        &[
            "node-role.kubernetes.io/worker=true",
            "kubernetes.io/arch=amd64",
            "kubernetes.io/hostname=other",
            "k8s.io/x=y",
            "a",
            "=b",
            "a=b c",
            "a/b/c=d",
            "A_=x-",
        ],
    );
    judge(
        Kind::Taint,
        &[
            "key=value:NoSchedule",
            "key:NoExecute",
            "node-role.kubernetes.io/control-plane=true:PreferNoSchedule",
        ],
        &[
            "key=value",
            "key=value:NoSchedul",
            ":NoSchedule",
            "a b=c:NoExecute",
        ],
    );
    judge(
        Kind::Argument,
        &["max-pods=50", "v=2"],
        &[
            "--max-pods=50",
            "max-pods=abc",
            "max-pods=0",
            "node-ip=10.0.0.1",
            "max-pods",
            "=5",
            "max pods=5",
        ],
    );
}

#[test]
fn boot_settings() {
    judge(
        Kind::Interface,
        &["eth0", "end0", "enp1s0", "enxb827eb000000"],
        &["wwan0", "eth0 ", "", "lo", "a/b", "sixteencharacters"],
    );
    judge(
        Kind::Ssid,
        &["home", "Café Wi-Fi", "a;b"],
        &["thirty-three characters are too many", "a\nb"],
    );
    judge(
        Kind::Millidegrees,
        &["50000", "82000"],
        &["50", "0", "999999", "x", "50°C"],
    );
    judge(
        Kind::KernelWord,
        &["quiet", "console=tty1", "pcie_aspm=off", "quiet splash"],
        &[
            "init=/bin/sh",
            "root=/dev/sda2",
            "quiet root=/dev/sda2",
            "ds=nocloud",
            "cloud-init=disabled",
            "quiet single",
            "systemd.unit=rescue.target",
            "rdinit=/x",
        ],
    );
    judge(
        Kind::ConfigLine,
        &[
            "arm_freq=1800",
            "[pi4]",
            "[all]",
            "dtoverlay=",
            "# note",
            "gpu_mem=16",
            "kernel=kernel8.img",
            "[cm5]",
            "[gpio4=1]",
            "[0x1234abcd]",
        ],
        &[
            "arm_64bit=0",
            "[pi44]",
            "kernel=kernel7l.img",
            "cmdline=other.txt",
            "arm_freq 1800",
            "os_prefix=x/",
            "[pi4",
            "a\nb",
        ],
    );
    judge(
        Kind::UsbQuirk,
        &["152d:0578:u"],
        &["152d:0578", "0x152d:0578:u", "152d:0578:u,1:2:u"],
    );
}

#[test]
fn texts() {
    judge(
        Kind::String,
        &["any text", "ü"],
        &["a\nb", "a\0b", "\u{1b}[0m", "a\rb"],
    );
    judge(
        Kind::Url,
        &[
            "https://hs.example.com",
            "http://10.0.0.1:8080/x",
            "https://[fd00::1]/",
        ],
        &[
            "hs.example.com",
            "ftp://x",
            "https://",
            "https://a b",
            "https://user:pw@x/",
            "~/lists/x.txt",
        ],
    );
    judge(
        Kind::Version,
        &["v1.36.5+k3s1", "1.102.4", "v6.4"],
        &["latest", "stable", "v", "1.2 ", "../x"],
    );
    judge(Kind::Sha256, &[&"a".repeat(64)], &["abc", &"g".repeat(64)]);
    judge(Kind::Commit, &[&"0".repeat(40)], &["abc123"]);
    judge(
        Kind::Duration,
        &["24h", "45m", "7d", "3600", "infinite"],
        &["forever", "banana", "1", "0h", "h"],
    );
    judge(
        Kind::Date,
        &["2026-12-31"],
        &["2026-13-01", "31.12.2026", "soon"],
    );
    judge(
        Kind::Tag,
        &["tag:router", "tag:a-1"],
        &["router", "tag:my router", "tag:", "tag:1a"],
    );
    judge(
        Kind::DiskLabel,
        &["nas", "data_1"],
        &["bootfs", "rootfs", "", "a b", "seventeen-letters"],
    );
    judge(
        Kind::NodePath,
        &["/bin/bash"],
        &["bash", "/a b", "/a/../b", "/", "/a:b"],
    );
    judge(
        Kind::Shell,
        &["/bin/bash", "/usr/bin/zsh"],
        &["bash", "/usr/sbin/nologin", "/bin/false"],
    );
    judge(
        Kind::BaseImage,
        &[
            "raspios-lite-arm64",
            "https://example.com/x.img.xz",
            "images/my.img.xz",
            "~/x.zip",
        ],
        &[
            "raspios-lite-armhf",
            "raspios-lite-arm46",
            "ftp://x/y.img",
            "x.iso",
        ],
    );
}
