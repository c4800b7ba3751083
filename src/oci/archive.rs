//! An archive of images that a node imports: OCI layout (image-spec, image-layout.md) in a tar.
//!
//! It is described and not written: heads of the tar in memory, blobs where the cache has them. What is
//! in it decides every byte.
//!
//! containerd takes the name of an image from the annotation `io.containerd.image.name` of the entry in
//! `index.json`. An entry is the manifest for one platform: of an index whose other platforms are not in
//! the archive, containerd would say that content is missing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use super::document::{Descriptor, EntryOut, IndexOut};
use super::name::ImageName;
use super::platform::Platform;
use crate::digest::Digest;
use crate::error::{Result, ResultExt};

/// What containerd calls the image.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// What others call it (image-spec, annotations.md): builders write the tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT: (&str, &[u8]) = ("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}");
const INDEX: &str = "index.json";
/// Bytes of a block of a tar.
const BLOCK: u64 = 512;
/// Two blocks of zeros are its end.
const END: usize = 1024;

/// A blob or a manifest as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub path: PathBuf,
}

/// An image of an archive, with all its files.
#[derive(Debug, Clone)]
pub struct ArchivedImage {
    pub name: ImageName,
    pub manifest: Descriptor,
    /// The manifest, the configuration and the layers.
    pub blobs: Vec<Blob>,
}

/// A part of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// A whole file, with its length in bytes.
    File(PathBuf, u64),
}

/// An archive, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pieces: Vec<Piece>,
    identity: Digest,
}

impl Archive {
    /// The archive of `images`, in whatever order they come. A blob that several of them have is in it
    /// once.
    pub fn of(images: &[ArchivedImage]) -> Result<Self> {
        let mut entries: Vec<&ArchivedImage> = images.iter().collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let index = IndexOut::new(entries.iter().map(|image| entry(image)).collect());
        let index = serde_json::to_vec(&index).context(|| format!("writing {INDEX}"))?;
        let identity = Digest::of_bytes(&index);
        let blobs: BTreeMap<Digest, &Blob> = images
            .iter()
            .flat_map(|image| &image.blobs)
            .map(|blob| (blob.digest, blob))
            .collect();
        let mut pieces = Pieces::default();
        pieces.small(LAYOUT.0, LAYOUT.1)?;
        pieces.small(INDEX, &index)?;
        for (digest, blob) in blobs {
            pieces.head(&format!("blobs/sha256/{digest}"), blob.size)?;
            pieces.all.push(Piece::File(blob.path.clone(), blob.size));
            pieces.padding(blob.size);
        }
        pieces.bytes(&[0; END]);
        Ok(Self {
            pieces: pieces.all,
            identity,
        })
    }

    /// The same for the same images: the digest of its `index.json`, which names everything in it.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        let sizes = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File(_, len) => *len,
        });
        sizes.sum()
    }

    /// The archive as a stream. One file is open at a time; one that is not as long as it was is an error.
    pub fn reader(&self) -> impl Read + '_ {
        Stream {
            pieces: self.pieces.iter(),
            current: None,
        }
    }
}

fn entry(image: &ArchivedImage) -> EntryOut {
    EntryOut {
        media_type: image.manifest.media_type.clone(),
        digest: format!("sha256:{}", image.manifest.digest),
        size: image.manifest.size,
        annotations: BTreeMap::from([
            (IMAGE_NAME, image.name.to_string()),
            (REF_NAME, image.name.tag().to_owned()),
        ]),
        platform: Platform::of_nodes(),
    }
}

#[derive(Default)]
struct Pieces {
    all: Vec<Piece>,
}

impl Pieces {
    /// Behind other bytes they need no piece of their own.
    fn bytes(&mut self, bytes: &[u8]) {
        match self.all.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.all.push(Piece::Bytes(bytes.to_vec())),
        }
    }

    /// The head of a file of `len` bytes.
    fn head(&mut self, name: &str, len: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header
            .set_path(name)
            .context(|| format!("the name {name} in an archive"))?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(len);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.bytes(header.as_bytes());
        Ok(())
    }

    fn padding(&mut self, len: u64) {
        let missing = (BLOCK - len % BLOCK) % BLOCK;
        self.bytes(&[0; BLOCK as usize][..missing as usize]);
    }

    fn small(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let len = content.len() as u64;
        self.head(name, len)?;
        self.bytes(content);
        self.padding(len);
        Ok(())
    }
}

/// A piece that is being read.
enum Open<'a> {
    Bytes(Cursor<&'a [u8]>),
    File {
        file: File,
        path: &'a Path,
        left: u64,
    },
}

struct Stream<'a> {
    pieces: std::slice::Iter<'a, Piece>,
    current: Option<Open<'a>>,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if buffer.is_empty() {
                return Ok(0);
            }
            let read = match &mut self.current {
                None => 0,
                Some(Open::Bytes(bytes)) => bytes.read(buffer)?,
                Some(Open::File { file, path, left }) => read_file(file, path, left, buffer)?,
            };
            if read > 0 {
                return Ok(read);
            }
            let Some(piece) = self.pieces.next() else {
                return Ok(0);
            };
            self.current = Some(open(piece)?);
        }
    }
}

fn open(piece: &Piece) -> io::Result<Open<'_>> {
    match piece {
        Piece::Bytes(bytes) => Ok(Open::Bytes(Cursor::new(bytes))),
        Piece::File(path, len) => {
            let file = File::open(path).map_err(|error| about(path, &error.to_string()))?;
            let found = file.metadata()?.len();
            if found != *len {
                return Err(about(path, &format!("it has {found} bytes, and had {len}")));
            }
            Ok(Open::File {
                file,
                path,
                left: *len,
            })
        }
    }
}

fn read_file(file: &mut File, path: &Path, left: &mut u64, buffer: &mut [u8]) -> io::Result<usize> {
    let most = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    if most == 0 {
        return Ok(0);
    }
    let read = file.read(&mut buffer[..most])?;
    if read == 0 {
        return Err(about(path, "it became shorter while it was read"));
    }
    *left -= read as u64;
    Ok(read)
}

fn about(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!("reading {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn blob(folder: &Path, content: &[u8]) -> Blob {
        let digest = Digest::of_bytes(content);
        let path = folder.join(digest.to_string());
        fs::write(&path, content).unwrap();
        Blob {
            digest,
            size: content.len() as u64,
            path,
        }
    }

    fn image(folder: &Path, name: &str, contents: &[&[u8]]) -> ArchivedImage {
        let blobs: Vec<Blob> = contents
            .iter()
            .map(|content| blob(folder, content))
            .collect();
        ArchivedImage {
            name: ImageName::parse(name).unwrap(),
            manifest: Descriptor {
                media_type: "application/vnd.oci.image.manifest.v1+json".into(),
                digest: blobs[0].digest,
                size: blobs[0].size,
            },
            blobs,
        }
    }

    fn bytes(archive: &Archive) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive.reader().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn blobs_that_images_share_are_there_once_and_order_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let big = vec![7; 1000];
        let a = image(folder.path(), "b.example/a:1", &[b"manifest a", b"", &big]);
        let b = image(folder.path(), "nginx", &[b"manifest b", &[1; 512], &big]);
        let archive = Archive::of(&[a.clone(), b.clone()]).unwrap();
        let written = bytes(&archive);
        assert_eq!(written.len() as u64, archive.size());
        let other = Archive::of(&[b, a]).unwrap();
        assert!(bytes(&other) == written);
        assert_eq!(other.identity(), archive.identity());
        let mut names = Vec::new();
        let mut index = String::new();
        for entry in tar::Archive::new(written.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(Digest::of_bytes(&content).to_string(), digest);
            } else if name == INDEX {
                index = String::from_utf8(content).unwrap();
            }
            names.push(name);
        }
        assert_eq!(names.len(), 2 + 5, "{names:?}");
        assert_eq!(
            (names[0].as_str(), names[1].as_str()),
            ("oci-layout", "index.json")
        );
        assert!(names[2..].is_sorted());
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        let annotations = &index["manifests"][0]["annotations"];
        assert_eq!(annotations[IMAGE_NAME], "b.example/a:1");
        assert_eq!(
            index["manifests"][1]["annotations"][IMAGE_NAME],
            "docker.io/library/nginx:latest"
        );
        assert_eq!(index["manifests"][1]["annotations"][REF_NAME], "latest");
        assert_eq!(index["manifests"][1]["platform"]["architecture"], "arm64");
    }

    #[test]
    fn a_file_that_changed_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let image = image(folder.path(), "x", &[b"manifest", b"layer"]);
        let archive = Archive::of(std::slice::from_ref(&image)).unwrap();
        let read = || archive.reader().read_to_end(&mut Vec::new());
        fs::write(&image.blobs[1].path, "longer than it was").unwrap();
        assert!(read().unwrap_err().to_string().contains("had 5"));
        fs::remove_file(&image.blobs[1].path).unwrap();
        let error = read().unwrap_err().to_string();
        assert!(
            error.contains(&image.blobs[1].digest.to_string()),
            "{error}"
        );
    }
}
