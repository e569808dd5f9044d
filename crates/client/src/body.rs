//! The body of an upload: reads the source piece by piece, hashes and counts what it gives away, and waits at a gate until the
//! server says `100 Continue`.

use crate::digest::Digest;
use crate::session::seconds;
use crate::settings::{Event, Progress};
use crate::wire::{Body, BoxError};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use sha2::{Digest as _, Sha256};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

/// What an upload reads from. Shared, so that an attempt that took no byte leaves it to the next; the lock is held while bytes
/// are taken and counted.
pub(crate) type Reader = Arc<tokio::sync::Mutex<Pin<Box<dyn AsyncRead + Send>>>>;

/// Makes a reader to share.
pub(crate) fn reader(inner: impl AsyncRead + Send + 'static) -> Reader {
    Arc::new(tokio::sync::Mutex::new(Box::pin(inner)))
}

const SHUT: &str = "the answer came before the body was sent";

/// Whether bytes may flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Not yet: the server has not spoken.
    Waiting,
    /// They may.
    Open,
    /// Nothing more flows while the answer is being read.
    Held,
    /// No more: the server has given its answer.
    Shut,
}

/// Opens and shuts the gate of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Gatekeeper(Arc<watch::Sender<Gate>>);

impl Gatekeeper {
    /// The server wants the body.
    pub(crate) fn open(&self) {
        self.0.send_if_modified(|gate| {
            let waiting = *gate == Gate::Waiting;
            if waiting {
                *gate = Gate::Open;
            }
            waiting
        });
    }

    /// The server is answering: what was not sent waits.
    pub(crate) fn hold(&self) {
        self.0.send_if_modified(|gate| {
            let flowing = matches!(gate, Gate::Waiting | Gate::Open);
            if flowing {
                *gate = Gate::Held;
            }
            flowing
        });
    }

    /// The server has answered: what was not sent stays here, and the connection closes.
    pub(crate) fn shut(&self) {
        self.0.send_replace(Gate::Shut);
    }
}

/// What one attempt has moved so far; shared with the body, which lives in the connection.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    bytes: AtomicU64,
    ended: AtomicBool,
    failed: Mutex<Option<io::Error>>,
    digest: Mutex<Option<Digest>>,
}

impl Moved {
    /// Bytes taken from the source.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Whether the source was given away whole.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Why the source could not be read, if that is what broke the attempt.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The SHA-256 of all bytes, once ended.
    pub(crate) fn digest(&self) -> Option<Digest> {
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a body is read.
pub(crate) struct BodyPlan {
    /// Bytes per read.
    pub(crate) chunk_bytes: usize,
    /// Bytes in all, if known: one more or one less is a failure.
    pub(crate) size: Option<u64>,
    /// How long the gate may stay closed before the body flows anyway.
    pub(crate) continue_wait: Duration,
    /// Who hears of progress.
    pub(crate) progress: Progress,
}

struct State {
    reader: Reader,
    plan: BodyPlan,
    moved: Arc<Moved>,
    hasher: Sha256,
    gate: watch::Receiver<Gate>,
}

/// The body, its gatekeeper, and what it has moved.
pub(crate) fn body(reader: Reader, plan: BodyPlan) -> (Body, Gatekeeper, Arc<Moved>) {
    let (sender, gate) = watch::channel(Gate::Waiting);
    let moved = Arc::new(Moved::default());
    let mut state = State { reader, plan, moved: Arc::clone(&moved), hasher: Sha256::new(), gate };
    if state.plan.size == Some(0) {
        end(&mut state);
    }
    let pieces = stream::try_unfold(state, |mut state| async move {
        Ok::<_, BoxError>(next(&mut state).await?.map(|piece| (http_body::Frame::data(piece), state)))
    });
    (StreamBody::new(pieces).boxed_unsync(), Gatekeeper(Arc::new(sender)), moved)
}

async fn next(state: &mut State) -> Result<Option<Bytes>, BoxError> {
    if state.moved.ended() {
        return Ok(None);
    }
    pass(&mut state.gate, state.plan.continue_wait).await?;
    let mut buffer = BytesMut::with_capacity(state.plan.chunk_bytes);
    let mut reader = state.reader.lock().await;
    let read = tokio::select! {
        biased;
        () = shut(&mut state.gate) => return Err(SHUT.into()),
        read = reader.read_buf(&mut buffer) => read.map_err(|error| fail(&state.moved, error))?,
    };
    let before = state.moved.bytes();
    let done = before.saturating_add(read as u64);
    state.moved.bytes.store(done, Ordering::Release);
    drop(reader);
    if state.plan.size.is_some_and(|size| done > size || (read == 0 && done != size)) {
        return Err(fail(&state.moved, changed(done)).into());
    }
    state.hasher.update(&buffer);
    // A body of known length is not polled again after its last byte, so that is its end.
    if read == 0 || state.plan.size == Some(done) {
        end(state);
    }
    if read == 0 {
        return Ok(None);
    }
    (state.plan.progress)(&Event::Moving { done, total: state.plan.size });
    Ok(Some(buffer.freeze()))
}

fn end(state: &mut State) {
    let digest = Digest::finish(std::mem::take(&mut state.hasher));
    *state.moved.digest.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
    state.moved.ended.store(true, Ordering::Release);
}

/// Waits until the gate is open, or for so long; a shut gate is an error, which closes the connection.
async fn pass(gate: &mut watch::Receiver<Gate>, wait: Duration) -> Result<(), BoxError> {
    let seen = *gate.borrow_and_update();
    let seen = if seen == Gate::Waiting {
        match tokio::time::timeout(wait, gate.wait_for(|gate| *gate != Gate::Waiting)).await {
            Ok(Ok(gate)) => *gate,
            Ok(Err(_)) => Gate::Shut,
            Err(_) => Gate::Open,
        }
    } else {
        seen
    };
    match seen {
        Gate::Open | Gate::Waiting => Ok(()),
        Gate::Held | Gate::Shut => {
            shut(gate).await;
            Err(SHUT.into())
        }
    }
}

/// Waits until the gate is shut for good, or its keeper is gone.
async fn shut(gate: &mut watch::Receiver<Gate>) {
    let _gone = gate.wait_for(|gate| *gate == Gate::Shut).await.map(|_| ());
}

/// A copy of the error for the one who reports it; the other breaks the request.
fn fail(moved: &Moved, error: io::Error) -> io::Error {
    let copy = io::Error::new(error.kind(), error.to_string());
    *moved.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    copy
}

/// The marker of a source whose length is not what it was.
#[derive(Debug, thiserror::Error)]
#[error("the source changed while it was sent: {found} bytes")]
pub(crate) struct Changed {
    /// Bytes found, at least.
    pub(crate) found: u64,
}

fn changed(found: u64) -> io::Error {
    io::Error::other(Changed { found })
}

/// Resolves when nothing moved for `stall`, or when the answer does not come within `answer` after the last byte.
pub(crate) async fn watch_stall(moved: &Moved, stall: Duration, answer: Duration) -> String {
    let mut last = None;
    loop {
        if moved.ended() {
            tokio::time::sleep(answer).await;
            return format!("no answer within {} after the last byte", seconds(answer));
        }
        let now = moved.bytes();
        if last == Some(now) {
            return format!("nothing moved for {}", seconds(stall));
        }
        last = Some(now);
        tokio::time::sleep(stall).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::no_progress;

    fn plan(size: Option<u64>) -> BodyPlan {
        BodyPlan { chunk_bytes: 4, size, continue_wait: Duration::from_secs(1), progress: no_progress() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_wait_ends_after_its_time() {
        let (mut body, _gate, moved) = body(reader(&b"abcdef"[..]), plan(None));
        let start = tokio::time::Instant::now();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abcd");
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert_eq!(moved.bytes(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_gate_lets_all_through_and_the_digest_is_known() {
        let (body, gate, moved) = body(reader(&b"abcdef"[..]), plan(Some(6)));
        gate.open();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdef");
        assert!(moved.ended());
        assert_eq!(moved.digest(), Some(Digest::of(b"abcdef")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shut_gate_stays_shut_and_moves_nothing() {
        let (mut body, gate, moved) = body(reader(&b"abcdef"[..]), plan(None));
        gate.shut();
        gate.open();
        let refused = body.frame().await.unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "the answer came before the body was sent");
        assert_eq!(moved.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_waits_for_its_source_leaves_the_bytes_to_the_next() {
        let (mut writer, source) = tokio::io::duplex(16);
        let shared = reader(source);
        let (mut first, gate, moved) = body(Arc::clone(&shared), plan(None));
        gate.open();
        let idle = tokio::time::timeout(Duration::from_secs(1), first.frame()).await;
        assert!(idle.is_err());
        gate.shut();
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"abc").await.unwrap();
        drop(writer);
        assert!(first.frame().await.unwrap().is_err());
        assert_eq!(moved.bytes(), 0);
        let (second, gate, _) = body(shared, plan(None));
        gate.open();
        assert_eq!(second.collect().await.unwrap().to_bytes(), "abc");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_of_another_length_fails() {
        for (size, found) in [(5, 6), (7, 6)] {
            let (body, gate, moved) = body(reader(&b"abcdef"[..]), BodyPlan { chunk_bytes: 16, ..plan(Some(size)) });
            gate.open();
            assert!(body.collect().await.is_err());
            let failure = moved.take_failure().unwrap();
            let marker = failure.get_ref().unwrap().downcast_ref::<Changed>().unwrap();
            assert_eq!(marker.found, found);
            assert!(!moved.ended());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_seen_while_sending_and_while_waiting_for_the_answer() {
        let moved = Moved::default();
        let (stall, answer) = (Duration::from_secs(3), Duration::from_secs(9));
        assert_eq!(watch_stall(&moved, stall, answer).await, "nothing moved for 3 s");
        moved.ended.store(true, Ordering::Release);
        assert_eq!(watch_stall(&moved, stall, answer).await, "no answer within 9 s after the last byte");
    }
}
