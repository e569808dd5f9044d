//! Wire types, identifiers, scopes and problem codes shared by the client and the modules. No I/O.
//!
//! [`file`](mod@file) is what a file is, [`upload`] how its bytes reach a Storage Element, [`element`] how elements report
//! themselves, [`account`] who may ask for tokens, [`problem`] how every module says no.

pub mod account;
pub mod element;
pub mod file;
pub mod problem;
pub mod scope;
pub mod upload;

pub use file::{FileId, FileRecord, RetentionPolicy};
pub use problem::{Code, Problem};
