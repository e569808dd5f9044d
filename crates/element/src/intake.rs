//! Moving a request's body into an upload: bounded, timed, accounted for.

use crate::metrics::{Direction, ElementMetrics};
use crate::refusal::Refusal;
use crate::room::Reservation;
use crate::store::Append;
use artstore_metrics::Clock;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a body may bring, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The offset that must not be passed.
    pub(crate) end: u64,
    /// How long the next bytes may take.
    pub(crate) read_timeout: Duration,
    /// Bytes between two checkpoints.
    pub(crate) checkpoint_bytes: u64,
}

/// Where a body goes.
pub(crate) struct Intake<'a, C: Clock> {
    pub(crate) append: &'a mut dyn Append,
    pub(crate) reservation: &'a mut Reservation,
    pub(crate) metrics: &'a ElementMetrics,
    pub(crate) clock: &'a C,
    /// Ends the intake early: a newer request takes over.
    pub(crate) interrupt: &'a CancellationToken,
}

impl<C: Clock> Intake<'_, C> {
    /// Takes the whole body. `progress` is told the durable offset, or `None` when bytes came but no checkpoint was made.
    pub(crate) async fn take(
        &mut self,
        body: Body,
        limits: Limits,
        progress: impl Fn(Option<u64>),
    ) -> Result<(), Refusal> {
        let mut body = body;
        let mut next_checkpoint = self.append.offset().saturating_add(limits.checkpoint_bytes);
        while let Some(bytes) = self.next(&mut body, limits.read_timeout).await? {
            let length = bytes.len() as u64;
            if length > limits.end - self.append.offset() {
                return Err(Refusal::TooLarge { limit: limits.end });
            }
            self.reservation.take(length)?;
            self.append.write(bytes).await?;
            self.metrics.transferred(Direction::Received, length);
            let offset = self.append.offset();
            if offset >= next_checkpoint {
                self.append.checkpoint(self.clock.wall()).await?;
                next_checkpoint = offset.saturating_add(limits.checkpoint_bytes);
                progress(Some(offset));
            } else {
                progress(None);
            }
        }
        Ok(())
    }

    /// The next bytes; `None` at the end of the body.
    async fn next(&self, body: &mut Body, read_timeout: Duration) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.interrupt.cancelled() => return Err(Refusal::BrokenOff),
                frame = tokio::time::timeout(read_timeout, body.frame()) => frame,
            };
            match frame {
                Err(_) => return Err(Refusal::Stalled(read_timeout)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(Refusal::BrokenOff),
                // Trailers are of no use here.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }
}
