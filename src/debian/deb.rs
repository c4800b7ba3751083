//! `.deb` files (deb(5)): an `ar` archive with `debian-binary`, `control.tar.*` and `data.tar.*`, in this
//! order. The control member is read, which is enough to know which package a file is.

use std::io::{BufReader, Read};

use flate2::read::GzDecoder;
use liblzma::read::XzDecoder;

use super::package::Package;
use super::paragraph::{Paragraphs, shown};
use crate::error::{Error, Result, ResultExt};

/// Bytes of a packed control member. The largest of Debian has 1 MB (lists of checksums).
const MAX_PACKED: u64 = 32 << 20;
/// Bytes that it unpacks to.
const MAX_UNPACKED: u64 = 128 << 20;
/// Members of an archive or of a control member.
const MAX_MEMBERS: usize = 1000;
/// What dpkg runs.
const SCRIPTS: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// What a `.deb` says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebControl {
    /// Without its file.
    pub package: Package,
    /// Names of its maintainer scripts, in alphabetical order.
    pub scripts: Vec<String>,
}

/// A member of an `ar` archive.
struct Header {
    name: String,
    size: u64,
}

impl DebControl {
    /// Reads the control member of a `.deb`; `origin` is its name in messages.
    ///
    /// # Errors
    /// A file that is no Debian package, or whose control member is malformed.
    pub fn read(deb: impl Read, origin: &str) -> Result<Self> {
        Self::of_archive(deb).context(|| format!("cannot read {origin} as a Debian package"))
    }

    /// Refuses a file that is another package than `wanted`.
    ///
    /// # Errors
    /// Another name, version or architecture.
    pub fn check(&self, wanted: &Package, origin: &str) -> Result<()> {
        let told = |p: &Package| format!("{} {} {}", p.name, p.version, p.architecture);
        let (found, wanted) = (told(&self.package), told(wanted));
        if found == wanted {
            return Ok(());
        }
        Err(Error::verification(format!(
            "{origin} is {found}, not {wanted}"
        )))
    }

    fn of_archive(mut deb: impl Read) -> Result<Self> {
        let mut magic = [0; 8];
        let read = deb.read_exact(&mut magic);
        if read.is_err() || magic != *b"!<arch>\n" {
            return Err(Error::failed("it does not begin with `!<arch>`"));
        }
        let Header { name, size } = header(&mut deb)?;
        if name != "debian-binary" || size > 64 {
            return Err(Error::failed("its first member is not `debian-binary`"));
        }
        let format = member(&mut deb, size)?;
        if !format.starts_with(b"2.") {
            return Err(Error::failed("its format is not 2"));
        }
        for _ in 0..MAX_MEMBERS {
            let Header { name, size } = header(&mut deb)?;
            if let Some(packing) = name.strip_prefix("control.tar") {
                return control(&member(&mut deb, size)?, packing);
            }
            // Others may come before it only if their names begin so.
            if !name.starts_with('_') {
                return Err(Error::failed(format!(
                    "it has `{}` where `control.tar` should be",
                    shown(&name)
                )));
            }
            member(&mut deb, size)?;
        }
        Err(Error::failed("it has too many members"))
    }
}

/// Name (16 bytes), time, owner, group, mode, size (10 bytes from 48), and two bytes at the end.
fn header(deb: &mut impl Read) -> Result<Header> {
    let mut raw = [0; 60];
    deb.read_exact(&mut raw)
        .context(|| "it ends within its members".into())?;
    let text = |range: std::ops::Range<usize>| {
        let bytes = raw.get(range).unwrap_or_default();
        std::str::from_utf8(bytes).ok().map(str::trim_end)
    };
    let size = text(48..58).and_then(|size| size.parse().ok());
    match (text(0..16), size, text(58..60)) {
        (Some(name), Some(size), Some("`")) => Ok(Header {
            name: name.strip_suffix('/').unwrap_or(name).to_owned(),
            size,
        }),
        _ => Err(Error::failed("a member has a malformed header")),
    }
}

/// The bytes of a member, and the one that fills it up to an even number.
fn member(deb: &mut impl Read, size: u64) -> Result<Vec<u8>> {
    if size > MAX_PACKED {
        return Err(Error::failed(format!(
            "a member before its data has {size} bytes, more than {MAX_PACKED}"
        )));
    }
    let mut bytes = Vec::new();
    deb.take(size + size % 2)
        .read_to_end(&mut bytes)
        .context(|| "it ends within a member".into())?;
    if bytes.len() as u64 != size + size % 2 {
        return Err(Error::failed("it ends within a member"));
    }
    bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    Ok(bytes)
}

/// The control file and the names of the scripts in a packed tar.
fn control(packed: &[u8], packing: &str) -> Result<DebControl> {
    let unpacked: Box<dyn Read + '_> = match packing {
        "" => Box::new(packed),
        ".gz" => Box::new(GzDecoder::new(packed)),
        ".xz" => Box::new(XzDecoder::new(packed)),
        ".zst" => Box::new(
            zstd::stream::read::Decoder::new(packed)
                .context(|| "its control member cannot be unpacked".into())?,
        ),
        other => {
            return Err(Error::failed(format!(
                "its control member is packed as `{}`",
                shown(other)
            )));
        }
    };
    let failed = || "its control member cannot be read".to_owned();
    let mut tar = tar::Archive::new(unpacked.take(MAX_UNPACKED));
    let mut package = None;
    let mut scripts = Vec::new();
    for entry in tar.entries().context(failed)?.take(MAX_MEMBERS) {
        let entry = entry.context(failed)?;
        let path = entry.path_bytes().into_owned();
        let path = String::from_utf8_lossy(&path).into_owned();
        let name = path.strip_prefix("./").unwrap_or(&path);
        if name == "control" && package.is_none() {
            let mut paragraphs = Paragraphs::new(BufReader::new(entry), "its control file");
            let paragraph = paragraphs.next()?;
            package = paragraph.map(|p| Package::read(&p)).transpose()?;
        } else if SCRIPTS.contains(&name) {
            scripts.push(name.to_owned());
        }
    }
    scripts.sort();
    scripts.dedup();
    match package {
        Some(package) => Ok(DebControl { package, scripts }),
        None => Err(Error::failed("it has no control file")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::error::ErrorKind;

    const CONTROL: &str =
        "Package: a\nVersion: 1\nArchitecture: arm64\nDepends: b\nDescription: x\n y\n";

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o755);
            builder
                .append_data(&mut header, format!("./{name}"), text.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut deb = b"!<arch>\n".to_vec();
        for (name, bytes) in members {
            write!(
                deb,
                "{name:16}{:12}{:6}{:6}{:8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                bytes.len()
            )
            .unwrap();
            deb.extend_from_slice(bytes);
            deb.resize(deb.len().next_multiple_of(2), b'\n');
        }
        deb
    }

    fn packed(packing: &str) -> Vec<u8> {
        let tar = tar(&[
            ("postinst", "#!"),
            ("control", CONTROL),
            ("md5sums", ""),
            ("preinst", "#!"),
        ]);
        match packing {
            ".xz" => liblzma::encode_all(&tar[..], 1).unwrap(),
            ".zst" => zstd::encode_all(&tar[..], 1).unwrap(),
            ".gz" => {
                let mut out =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(&tar).unwrap();
                out.finish().unwrap()
            }
            _ => tar,
        }
    }

    fn deb(control: &str, bytes: &[u8]) -> Vec<u8> {
        ar(&[
            ("debian-binary", b"2.0\n"),
            (control, bytes),
            ("data.tar.xz", b"no matter"),
        ])
    }

    #[test]
    fn every_packing_is_read() {
        for packing in ["", ".gz", ".xz", ".zst"] {
            let deb = deb(&format!("control.tar{packing}"), &packed(packing));
            let control = DebControl::read(&deb[..], "a.deb").unwrap();
            assert_eq!(control.scripts, ["postinst", "preinst"]);
            assert_eq!(&*control.package.depends, "b");
            control.check(&control.package.clone(), "a.deb").unwrap();
            let mut other = control.package.clone();
            other.version = crate::debian::Version::parse("2").unwrap();
            let error = control.check(&other, "a.deb").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Verification);
            assert_eq!(error.to_string(), "a.deb is a 1 arm64, not a 2 arm64");
        }
    }

    #[test]
    fn what_is_no_package_is_an_error() {
        let good = deb("control.tar.xz", &packed(".xz"));
        let without = tar(&[("postinst", "#!")]);
        let strange = tar(&[("control", "Package: ../a\n")]);
        let huge = [
            &b"!<arch>\n"[..],
            format!("{:48}{:<10}`\n", "debian-binary", 9_999_999_999_u64).as_bytes(),
        ]
        .concat();
        for (bytes, wanted) in [
            (Vec::new(), "begin with `!<arch>`"),
            (good[..100].to_vec(), "ends within"),
            (good[..200].to_vec(), "ends within a member"),
            (huge, "first member"),
            (ar(&[("control.tar", b"")]), "first member"),
            (ar(&[("debian-binary", b"3.0\n")]), "format is not 2"),
            (deb("control.tar.bz2", b""), "packed as `.bz2`"),
            (deb("control.tar.xz", b"nonsense"), "cannot be read"),
            (deb("control.tar.zst", b"nonsense"), "cannot be read"),
            (deb("control.tar", &without), "no control file"),
            (deb("control.tar", &strange), "`Package` cannot be"),
            (deb("data.tar.xz", b""), "where `control.tar` should be"),
        ] {
            let error = DebControl::read(&bytes[..], "a.deb").unwrap_err();
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            assert!(chain.join(": ").contains(wanted), "{chain:?} {wanted}");
        }
    }

    #[test]
    fn no_change_of_a_byte_makes_it_panic() {
        let good = deb("control.tar", &packed(""));
        for at in 0..400 {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            if let Ok(control) = DebControl::read(&bad[..], "a.deb") {
                assert_eq!(&*control.package.name, "a");
            }
        }
    }
}
