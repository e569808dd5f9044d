//! The injected clock as rustls' source of time.

use artstore_metrics::Clock;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

#[derive(Debug)]
pub(crate) struct ClockTime<C>(pub(crate) C);

impl<C: Clock> TimeProvider for ClockTime<C> {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall().as_duration()))
    }
}
