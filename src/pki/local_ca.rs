//! What people install on their devices.

use super::purpose::LOCAL_CA;
use crate::secrets::Tables;

/// The certificate of the local authority as a file; `None` where there is none.
pub fn local_ca_file(tables: &Tables) -> Option<String> {
    let certificate = tables.value(LOCAL_CA, "certificate")?;
    Some(format!("{}\n", certificate.expose()))
}
