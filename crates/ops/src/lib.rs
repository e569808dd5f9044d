//! Reference pages, operations documents and the status page, made from the families that the crates declare, so that they cannot drift.

mod alertmanager;
mod build;
mod catalogue;
mod dashboard;
mod export;
mod kubernetes;
mod profile;
mod prometheus;
mod promql;
mod reference;
mod rules;
mod status;
mod yaml;

pub use build::{BUILD_INFO, register_build_info};
pub use catalogue::{Section, catalogue};
pub use export::{documents, documents_in};
pub use profile::Profile;
pub use reference::{as_json, as_markdown, as_table};
pub use rules::{Alert, Group, JOBS, Record, Severity, groups, groups_in};
pub use status::Status;
