//! The clock of the Admin Module in `artstore up`: the machine's, but for one fault.

use super::{Fault, Present};
use artstore_metrics::{Clock, Monotonic, SystemClock, UnixTime};
use std::time::Duration;

/// How far a wrong clock is ahead.
const AHEAD: Duration = Duration::from_secs(3600);

/// The machine's clocks; the wall clock is wrong while that fault is present.
#[derive(Debug, Clone)]
pub(in crate::up) struct UpClock {
    system: SystemClock,
    present: Option<Present>,
}

impl UpClock {
    /// Right for ever without a `present` fault to ask for.
    pub(in crate::up) fn new(present: Option<Present>) -> Self {
        Self { system: SystemClock::new(), present }
    }
}

impl Clock for UpClock {
    fn monotonic(&self) -> Monotonic {
        self.system.monotonic()
    }

    fn wall(&self) -> UnixTime {
        let right = self.system.wall();
        match self.present.as_ref().map(Present::now) {
            Some(Fault::WrongClock) => right.plus(AHEAD),
            Some(_) | None => right,
        }
    }
}
