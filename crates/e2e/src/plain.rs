//! One request over plain HTTP on loopback, without a process for it: the servers of the tests' rigs are asked many times a second.

use crate::curl::Answer;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// The longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// GET of `path`, which begins with `/`, from `host:port`.
///
/// # Errors
/// A server that does not answer.
pub fn get(address: &str, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    // An answer of version 1.0 comes in one piece and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(Answer::parse(&bytes))
}
