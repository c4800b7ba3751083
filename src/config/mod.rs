//! Profiles: what a node shall be, read from TOML, merged along `extends`, checked key by key and
//! then across nodes. Nothing here touches the network or an image.

mod checks;
mod core_keys;
mod field;
mod folder;
mod kind;
mod load;
mod net;
mod node;
mod schema;
mod value;

pub use checks::{check_cluster, check_stock_base};
pub use field::{Field, Pattern, Table, full_match};
pub use kind::{BASE_ALIASES, Kind};
pub use load::{Overrides, ProfileSource, Profiles, RawProfile};
pub use net::{Cidr, IpRange, ipv6_network};
pub use node::{
    BaseSettings, Boot, Cluster, ClusterSettings, DiskSettings, DiskTable, FirstBoot, Locale,
    Network, Node, OptionTable, Ssh, Sudo, Time, User, Wifi,
};
pub use schema::Schema;
pub use value::{Item, Origin, Value};
