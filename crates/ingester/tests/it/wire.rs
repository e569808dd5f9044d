//! A client that writes its own HTTP/1.1, so that it can stall, break off and lie.

use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Status, code and detail of a problem document.
    pub(crate) fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let json = self.json();
        assert_eq!(json["status"], self.status);
        (self.status, json["code"].as_str().unwrap().to_owned(), json["detail"].as_str().unwrap().to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A request in the making.
#[derive(Debug, Clone)]
pub(crate) struct Req {
    head: String,
    body: Vec<u8>,
    sized: bool,
}

pub(crate) fn req(method: &str, path: &str) -> Req {
    Req { head: format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"), body: vec![], sized: true }
}

impl Req {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A form of these parts: name, file name, content.
    pub(crate) fn form(self, parts: &[(&str, Option<&str>, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (name, filename, content) in parts {
            let filename =
                filename.map_or_else(String::new, |name| format!("; filename=\"{name}\"\r\nContent-Type: text/plain"));
            body.extend_from_slice(
                format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{filename}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--XX--\r\n");
        self.header("content-type", "multipart/form-data; boundary=XX").body(body)
    }

    /// Sends the body in chunks, without a length.
    pub(crate) fn chunked(mut self) -> Self {
        self.sized = false;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone().into_bytes();
        if self.sized {
            bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
            bytes.extend_from_slice(&self.body);
        } else {
            bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in self.body.chunks(10_000) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        bytes
    }

    /// Sends it whole, while reading, and gives the answer.
    pub(crate) async fn send(self, to: SocketAddr) -> Reply {
        let (mut reader, mut writer) = TcpStream::connect(to).await.unwrap().into_split();
        let bytes = self.bytes();
        let writing = tokio::spawn(async move {
            // A server that has said no may stop reading.
            let _ = writer.write_all(&bytes).await;
            writer
        });
        let reply = read_reply(&mut reader, self.head.starts_with("HEAD ")).await;
        drop(writing);
        reply
    }

    /// Sends the head with a length of `length` and then `first`, and leaves the rest to the caller.
    pub(crate) async fn begin(&self, to: SocketAddr, length: u64, first: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let head = format!("{}content-length: {length}\r\n\r\n", self.head);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(first).await.unwrap();
        stream
    }
}

/// Reads one answer whose connection closes after it.
pub(crate) async fn read_reply(reader: &mut (impl AsyncReadExt + Unpin), head_only: bool) -> Reply {
    let mut read = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            // A reset after the answer is an end, too.
            match reader.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => read.extend_from_slice(&buffer[..count]),
            }
            if complete(&read, head_only) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time");
    parse(&read)
}

fn split(read: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&read[..end], &read[end + 4..]))
}

fn complete(read: &[u8], head_only: bool) -> bool {
    let Some((head, body)) = split(read) else { return false };
    let head = String::from_utf8_lossy(head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    head_only || length.is_some_and(|length| body.len() >= length)
}

fn parse(read: &[u8]) -> Reply {
    let (head, body) = split(read).unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(read)));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Reply { status, headers, body: body.to_vec() }
}
