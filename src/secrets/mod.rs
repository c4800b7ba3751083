//! Where secrets come from. A profile only ever holds a reference: `env:NAME`, `file:PATH` or
//! `cmd:COMMAND`; the value exists in memory from here to the root file system of one image. What nobody
//! has to choose is made once, and kept in `secrets.toml`.

mod access;
mod command;
mod ignored;
mod kept;
mod mask;
mod memo;
mod placeholder;
mod reference;
mod refusal;
mod secret;
mod tables;
mod value;
mod vault;

pub use access::{SecretAccess, SecretMode};
pub use command::Overheard;
pub use ignored::not_ignored;
pub use kept::{Added, Kept, SECRETS_FILE};
pub use mask::Mask;
pub use memo::Memo;
pub use reference::check_reference;
pub use refusal::Refusal;
pub use secret::{REDACTED, Secret};
pub use tables::{Table, Tables};
pub use vault::Vault;
