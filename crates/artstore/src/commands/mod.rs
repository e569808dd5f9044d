//! The commands: thin skins over the libraries.

pub(crate) mod accounts;
pub(crate) mod certs;
pub(crate) mod config;
mod connection;
pub(crate) mod doctor;
pub(crate) mod download;
pub(crate) mod keys;
mod media;
pub(crate) mod metrics;
mod output;
pub(crate) mod rebuild;
pub(crate) mod serve;
pub(crate) mod token;
pub(crate) mod upload;
