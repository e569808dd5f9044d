//! The development CA and its certificates: made on first start, renewed when they have less than 30 days left.

use crate::failure::Failure;
use artstore_metrics::{Clock as _, SystemClock, UnixTime};
use artstore_tls::IdentityFiles;
use artstore_tls::dev::{DevCa, DevCaError, LOCAL_NAMES, Leaf};
use std::path::{Path, PathBuf};

/// Where the certificates of a development set-up lie.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    /// The CA's certificate: what everybody trusts.
    pub(crate) ca: PathBuf,
    /// The certificate that the modules' listeners show.
    pub(crate) server: IdentityFiles,
    /// The certificate that the Ingester and the elements show when they connect.
    pub(crate) module: IdentityFiles,
    /// A certificate for a client.
    pub(crate) client: IdentityFiles,
}

/// The file name of the certificate that modules show when they connect.
pub(crate) const MODULE: &str = "module";

/// That certificate.
pub(crate) fn module_leaf(now: UnixTime) -> Leaf {
    Leaf::client("ArtStore development module", now)
}

/// Makes, or finds again, the certificates in `dir`. `names` are further names of the server certificate.
///
/// # Errors
/// A folder that cannot be written, a name that is none, a file that was damaged.
pub(crate) fn certificates(dir: &Path, names: &[String]) -> Result<Certificates, Failure> {
    let failed = |error| Failure::failed(format!("development certificates in {}: {error}", dir.display()));
    let now = SystemClock::new().wall();
    let make = || {
        let ca = DevCa::open(dir, now)?;
        let server_names: Vec<&str> = LOCAL_NAMES.into_iter().chain(names.iter().map(String::as_str)).collect();
        let server = Leaf::server("ArtStore development server", now).names(&server_names);
        Ok::<_, DevCaError>(Certificates {
            server: ca.keep("server", &server, now)?,
            module: ca.keep(MODULE, &module_leaf(now), now)?,
            client: ca.keep("client", &Leaf::client("ArtStore development client", now), now)?,
            ca: ca.ca_file().to_owned(),
        })
    };
    make().map_err(failed)
}
