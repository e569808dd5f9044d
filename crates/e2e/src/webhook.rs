//! What an Alertmanager tells: a receiver on a real socket that keeps every notification with the time of its arrival.

use crate::scrape::Labels;
use artstore_metrics::{Clock, Monotonic, SystemClock};
use serde::Deserialize;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest silence of a sender.
const SILENCE: Duration = Duration::from_secs(30);

/// One alert of a notification.
#[derive(Debug, Clone, Deserialize)]
pub struct Told {
    /// `firing` or `resolved`.
    pub status: String,
    /// Its labels, `alertname` and `severity` among them.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
}

impl Told {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }

    /// Whether it fires.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.status == "firing"
    }
}

/// A notification: the alerts of one group.
#[derive(Debug, Clone)]
pub struct Notification {
    /// When it came, by the webhook's clock.
    pub at: Monotonic,
    /// The path that it was sent to: the receiver's.
    pub path: String,
    /// Its alerts.
    pub alerts: Vec<Told>,
}

/// A running receiver; it ends when dropped.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    clock: SystemClock,
    heard: Arc<Mutex<Vec<Notification>>>,
    is_closing: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Listens on a free port of loopback.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, clock) = (listener.local_addr().unwrap(), SystemClock::new());
        let (heard, is_closing) = (Arc::<Mutex<Vec<Notification>>>::default(), Arc::<AtomicBool>::default());
        let (ears, closing) = (Arc::clone(&heard), Arc::clone(&is_closing));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if closing.load(Ordering::Relaxed) {
                    return;
                }
                let ears = Arc::clone(&ears);
                // A sender may open a connection and use it later: one does not wait for another.
                std::thread::spawn(move || serve(stream.ok()?, &clock, &ears));
            }
        });
        Self { address, clock, heard, is_closing, accepting: Some(accepting) }
    }

    /// Its URL, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Now, by the clock of [`Notification::at`].
    #[must_use]
    pub fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }

    /// All that came since `since`, in order.
    #[must_use]
    pub fn heard_since(&self, since: Monotonic) -> Vec<Notification> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|notification| notification.at >= since).cloned().collect()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::Relaxed);
        // It wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Reads one request and answers it; a broken one ends the connection.
fn serve(stream: TcpStream, clock: &SystemClock, heard: &Mutex<Vec<Notification>>) -> Option<()> {
    #[derive(Deserialize)]
    struct Body {
        alerts: Vec<Told>,
    }
    stream.set_read_timeout(Some(SILENCE)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let Body { alerts } = serde_json::from_slice(&body).ok()?;
    let at = clock.monotonic();
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(Notification { at, path, alerts });
    reader.into_inner().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()
}
