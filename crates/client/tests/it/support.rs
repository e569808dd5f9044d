//! A scripted server: it speaks just enough HTTP/1.1 over real sockets to fail in every way that a test asks for.

use artstore_api::file::{FileRecord, FileStatus, RetentionPolicy};
use artstore_api::{Code, FileId, Problem};
use artstore_client::{BaseUrl, Bearer, BoxFuture, Digest, Event, Limits, Progress, Session, TokenError, TokenSource};
use artstore_http::{Client, ClientSettings, HttpClientMetrics};
use artstore_metrics::{Registry, SystemClock};
use http::HeaderValue;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
pub(crate) enum Step {
    /// Reads the whole body, then answers.
    Answer(Reply),
    /// Answers at once, without asking for the body.
    Early(Reply),
    /// Takes so many bytes of the body, then answers.
    After(usize, Reply),
    /// Takes so many bytes of the body, then resets the connection.
    ResetAfter(usize),
    /// Reads the whole body, then closes without a word.
    Silence,
    /// Sends the head and so many bytes of the body, then closes.
    Torn(Reply, usize),
    /// Sends the head and so many bytes of the body, then nothing more until the client goes away.
    Stalled(Reply, usize),
    /// Asks for the body and takes none of it.
    Deaf,
}

/// An answer.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// An answer of these bytes.
pub(crate) fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, headers: Vec::new(), body: body.into() }
}

impl Reply {
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", self.status);
        if !self.headers.iter().any(|(name, _)| *name == "content-length") {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

/// A problem document.
pub(crate) fn problem(code: Code, detail: &str) -> Reply {
    let body = serde_json::to_vec(&Problem::new(code, detail)).unwrap();
    reply(code.status(), body).with("content-type", "application/problem+json").with("x-request-id", "r-7")
}

/// A record as JSON.
pub(crate) fn record_reply(status: u16, record: &FileRecord) -> Reply {
    reply(status, serde_json::to_vec(record).unwrap()).with("content-type", "application/json")
}

/// The record of a file with this name and these bytes.
pub(crate) fn record(name: &str, bytes: &[u8]) -> FileRecord {
    FileRecord {
        file_id: FileId::generate(),
        original_filename: name.to_owned(),
        content_type: "text/plain".to_owned(),
        size: bytes.len() as u64,
        checksum: Digest::of(bytes).to_string(),
        uploaded_by: "someone".to_owned(),
        uploaded_at: time::OffsetDateTime::UNIX_EPOCH,
        description: None,
        tags: vec![],
        status: FileStatus::Active,
        retention_policy: RetentionPolicy::Temporary,
        ttl_days: Some(30),
        expires_at: Some(time::OffsetDateTime::UNIX_EPOCH),
    }
}

/// A request as the server saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The running server.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    left: Arc<Mutex<VecDeque<Step>>>,
}

impl Server {
    /// Starts a server that does these steps, one per connection.
    pub(crate) async fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, left) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::new(Mutex::new(steps.into_iter().collect())));
        let server = Self { url, seen: Arc::clone(&seen), left: Arc::clone(&left) };
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                let step = { left.lock().unwrap().pop_front() };
                let Some(step) = step else { continue };
                let mut connection = Connection { socket, buffer: Vec::new(), request: Seen::default() };
                connection.serve(step, &seen).await;
            }
        });
        server
    }

    /// What was asked so far. All steps must be used up.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        assert_eq!(self.left.lock().unwrap().len(), 0, "steps were left over");
        self.seen.lock().unwrap().clone()
    }
}

struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    request: Seen,
}

impl Connection {
    async fn serve(&mut self, step: Step, seen: &Mutex<Vec<Seen>>) {
        self.head().await;
        match step {
            Step::Answer(reply) => {
                self.body(usize::MAX).await;
                self.tell(seen);
                self.send(&reply, usize::MAX).await;
            }
            Step::Early(reply) => {
                self.tell(seen);
                self.send(&reply, usize::MAX).await;
                self.wait_for_the_end().await;
            }
            Step::After(bytes, reply) => {
                self.body(bytes).await;
                self.tell(seen);
                self.send(&reply, usize::MAX).await;
                self.wait_for_the_end().await;
            }
            Step::ResetAfter(bytes) => {
                self.body(bytes).await;
                self.tell(seen);
                self.socket.set_zero_linger().unwrap();
            }
            Step::Silence => {
                self.body(usize::MAX).await;
                self.tell(seen);
            }
            Step::Torn(reply, bytes) => {
                self.tell(seen);
                self.send(&reply, bytes).await;
            }
            Step::Stalled(reply, bytes) => {
                self.tell(seen);
                self.send(&reply, bytes).await;
                self.wait_for_the_end().await;
            }
            Step::Deaf => {
                self.body(0).await;
                std::future::pending::<()>().await;
            }
        }
    }

    fn tell(&mut self, seen: &Mutex<Vec<Seen>>) {
        seen.lock().unwrap().push(std::mem::take(&mut self.request));
    }

    async fn more(&mut self) -> bool {
        self.socket.read_buf(&mut self.buffer).await.unwrap_or(0) > 0
    }

    async fn head(&mut self) {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if !self.more().await {
                return;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        self.request.line = lines.next().unwrap().to_owned();
        let fields = lines.filter_map(|line| line.split_once(": "));
        self.request.headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    }

    /// Asks for the body if the client waits for that, and takes at most so many bytes of it.
    async fn body(&mut self, most: usize) {
        if self.request.header("expect").is_some() {
            self.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        }
        if self.request.header("transfer-encoding").is_some() {
            return self.chunks(most).await;
        }
        let length = self.request.header("content-length").map_or(0, |text| text.parse::<usize>().unwrap());
        while self.buffer.len() < length.min(most) && self.more().await {}
        self.request.body = std::mem::take(&mut self.buffer);
    }

    async fn chunks(&mut self, most: usize) {
        while self.request.body.len() < most {
            let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") else {
                if self.more().await {
                    continue;
                }
                return;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..end]).unwrap(), 16).unwrap();
            while self.buffer.len() < end + 2 + size + 2 {
                if !self.more().await {
                    return;
                }
            }
            let chunk: Vec<u8> = self.buffer.drain(..end + 2 + size + 2).collect();
            self.request.body.extend_from_slice(&chunk[end + 2..end + 2 + size]);
            if size == 0 {
                return;
            }
        }
    }

    async fn send(&mut self, reply: &Reply, most: usize) {
        let mut bytes = reply.head().into_bytes();
        bytes.extend_from_slice(&reply.body[..reply.body.len().min(most)]);
        // The client may be gone by intent of the test.
        let _gone = self.socket.write_all(&bytes).await;
        let _gone = self.socket.flush().await;
    }

    /// Takes nothing more, and closes only after the client has.
    async fn wait_for_the_end(&mut self) {
        let mut sink = [0; 4096];
        while self.socket.read(&mut sink).await.unwrap_or(0) > 0 {}
    }
}

/// Tokens `token-0`, `token-1`…: a new one after each invalidation.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tokens {
    generation: Arc<AtomicU64>,
    pub(crate) rejected: Arc<AtomicU64>,
}

impl TokenSource for Tokens {
    fn token(&self) -> BoxFuture<'_, Result<Bearer, TokenError>> {
        let generation = self.generation.load(Ordering::SeqCst);
        let authorization = HeaderValue::try_from(format!("Bearer token-{generation}")).unwrap();
        Box::pin(async move { Ok(Bearer { authorization, generation }) })
    }

    fn invalidate(&self, generation: u64) {
        let _newer = self.generation.compare_exchange(generation, generation + 1, Ordering::SeqCst, Ordering::SeqCst);
    }

    fn rejected(&self, _generation: u64) {
        self.rejected.fetch_add(1, Ordering::SeqCst);
    }
}

/// Short pauses, so that tests end soon.
pub(crate) fn limits() -> Limits {
    Limits {
        attempts: 3,
        backoff_first: Duration::from_millis(2),
        backoff_max: Duration::from_millis(4),
        continue_wait: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        ..Limits::default()
    }
}

/// A session over real sockets.
pub(crate) fn session(url: &str, tokens: Tokens, limits: Limits) -> Session {
    let client =
        Client::new(ClientSettings::default(), None, HttpClientMetrics::new(&Registry::new()), SystemClock::new());
    Session::new(BaseUrl::parse(url).unwrap(), client, tokens, limits)
}

/// Collects events.
pub(crate) fn listen() -> (Progress, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::<Mutex<Vec<Event>>>::default();
    let heard = Arc::clone(&events);
    (Arc::new(move |event| heard.lock().unwrap().push(event.clone())), events)
}

/// Bytes without a pattern that a mistake in offsets could hide in.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
