//! Uploading to and downloading from an Ingester, as a library: the command line is a thin skin over it.
//!
//! An [`Uploader`] sends a file as one raw `PUT`, with its SHA-256 beforehand, and starts again when the connection breaks. A
//! [`Downloader`] fetches into `NAME.part`, goes on where it stopped, checks size and SHA-256, and only then gives the file its
//! name. Both work through a [`Session`]: one address, one [`Wire`] that carries requests, one [`TokenSource`] that says who asks.
//!
//! Nothing here reads the environment or prints: what is needed comes in as values, what happens goes out as results and
//! [`Event`]s.
//!
//! ```no_run
//! use artstore_client::{
//!     BaseUrl, ConnectSettings, Connection, DownloadOptions, Downloader, Limits, SecretSource, Target, Upload, Uploader,
//! };
//! use std::path::Path;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let connection = Connection::open(ConnectSettings {
//!     admin: vec![BaseUrl::parse("https://127.0.0.1:8000")?],
//!     ca_cert: Some("artstore-data/tls/ca.pem".into()),
//!     identity: None,
//!     client_id: "artstore-client".to_owned(),
//!     secret: SecretSource::File("secret".into()),
//!     scope: vec!["files:read".to_owned(), "files:write".to_owned()],
//! })?;
//! let session = connection.session(BaseUrl::parse("https://127.0.0.1:8020")?, Limits::default());
//!
//! let upload = Upload { tags: vec!["art".to_owned()], ..Upload::default() };
//! let uploaded = Uploader::new(session.clone()).file(Path::new("picture.png"), &upload).await?;
//!
//! let target = Target::Folder("downloads".into());
//! Downloader::new(session).file(uploaded.record.file_id, &target, DownloadOptions::default()).await?;
//! # Ok(())
//! # }
//! ```

mod backoff;
mod body;
mod connect;
mod digest;
mod download;
mod error;
mod name;
mod part;
mod range;
mod session;
mod settings;
mod token;
mod upload;
mod wire;

pub use artstore_auth::{Backoff, SecretSource};
pub use connect::{AccessTokenText, ConnectError, ConnectSettings, Connection};
pub use digest::{Digest, InvalidDigest};
pub use download::{DownloadOptions, Downloaded, Downloader, Overwrite, Target};
pub use error::{Category, Error, Refusal};
pub use name::safe_file_name;
pub use session::Session;
pub use settings::{BaseUrl, Event, InvalidUrl, Limits, Progress, no_progress};
pub use token::{Bearer, FixedToken, TokenError, TokenSource};
pub use upload::{Known, Upload, Uploaded, Uploader};
pub use wire::{Body, BoxError, BoxFuture, Wire, WireError, WireErrorKind};
