//! What an inode can be.

/// What kind of node an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
    /// None that ext4 knows.
    Unknown,
}

impl FileKind {
    /// The kind in the upper four bits of `i_mode`.
    pub(super) fn of_mode(mode: u16) -> Self {
        match mode & 0xF000 {
            0x1000 => Self::Fifo,
            0x2000 => Self::CharDevice,
            0x4000 => Self::Directory,
            0x6000 => Self::BlockDevice,
            0x8000 => Self::File,
            0xA000 => Self::Symlink,
            0xC000 => Self::Socket,
            _ => Self::Unknown,
        }
    }
}
