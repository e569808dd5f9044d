//! The body of a `PATCH`: what was read already, then the rest of the client's body as it comes, counted and limited.

use crate::metrics::ReceivedBytes;
use crate::source::SourceError;
use artstore_http::BoxError;
use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// What became of a feed, for who handed it away.
#[derive(Debug, Default)]
pub(crate) struct FeedState {
    inner: Mutex<Handed>,
}

#[derive(Debug, Default, Clone)]
struct Handed {
    bytes: u64,
    ended: bool,
    error: Option<SourceError>,
}

impl FeedState {
    /// Bytes handed on so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.handed().bytes
    }

    /// Whether the client's body came to its end.
    pub(crate) fn ended(&self) -> bool {
        self.handed().ended
    }

    /// Why the client's body did not come to its end.
    pub(crate) fn error(&self) -> Option<SourceError> {
        self.handed().error
    }

    fn handed(&self) -> Handed {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Handed)) {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The feed itself.
pub(crate) struct Feed<S> {
    lead: Option<Bytes>,
    /// Dropped as soon as it has ended: who comes after it in the client's body waits for that.
    rest: Option<S>,
    /// Bytes still to come, if the client said how many.
    left: Option<u64>,
    limit: u64,
    taken: u64,
    received: ReceivedBytes,
    state: Arc<FeedState>,
}

impl<S> Feed<S> {
    /// A feed of `lead` and then `rest`; of `size` bytes in all, if that is known, and of at most `limit`.
    pub(crate) fn new(
        lead: Bytes,
        rest: S,
        size: Option<u64>,
        limit: u64,
        received: ReceivedBytes,
    ) -> (Self, Arc<FeedState>) {
        let state = Arc::new(FeedState::default());
        let taken = lead.len() as u64;
        let lead = Some(lead).filter(|lead| !lead.is_empty());
        (Self { lead, rest: Some(rest), left: size, limit, taken, received, state: Arc::clone(&state) }, state)
    }

    fn hand(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let length = piece.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(length));
        let ended = self.left == Some(0);
        self.state.note(|handed| {
            handed.bytes += length;
            handed.ended |= ended;
        });
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn fail(&mut self, error: SourceError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.rest = None;
        self.state.note(|handed| handed.error = Some(error.clone()));
        Poll::Ready(Some(Err(Box::new(error))))
    }
}

impl<S: Stream<Item = Result<Bytes, SourceError>> + Unpin> Body for Feed<S> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(lead) = self.lead.take() {
            return self.hand(lead);
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        match ready!(Pin::new(rest).poll_next(cx)) {
            None => {
                self.rest = None;
                self.state.note(|handed| handed.ended = true);
                Poll::Ready(None)
            }
            Some(Err(error)) => self.fail(error),
            Some(Ok(piece)) => {
                self.received.add(piece.len());
                self.taken += piece.len() as u64;
                if self.taken > self.limit {
                    let limit = self.limit;
                    return self.fail(SourceError::TooLarge(limit));
                }
                self.hand(piece)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lead.is_none() && (self.rest.is_none() || self.left == Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
