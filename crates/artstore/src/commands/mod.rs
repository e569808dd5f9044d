//! The commands of a client: thin skins over `artstore-client`.

mod connection;
mod media;
mod output;

pub(crate) mod download;
pub(crate) mod token;
pub(crate) mod upload;
