//! The fleet of elements as last reported, in memory: what a scrape counts and the list answers with.

use crate::metrics::{Mode, Status};
use crate::store::{Reported, millis};
use artstore_api::element::{Element, ElementStatus};
use artstore_metrics::{Clock, LabelValue as _, UnixTime};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What an element's identifier may be: safe in paths and logs.
pub(crate) const ELEMENT_ID_RULE: &str = "element_id has 1 to 64 characters of letters, digits, '-', '.' and '_'";

/// Whether this is an identifier of an element.
pub(crate) fn is_element_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// When an element is online.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recency {
    pub(crate) online_within: Duration,
}

impl Recency {
    pub(crate) fn status(self, reported_at: i64, now: UnixTime) -> ElementStatus {
        if reported_at >= millis(now.minus(self.online_within)) {
            ElementStatus::Online
        } else {
            ElementStatus::Offline
        }
    }
}

/// The modes and last reports of all elements. The database is the truth; this is read again from it now and then, so that
/// reports to other replicas count too.
#[derive(Debug)]
pub(crate) struct Fleet<C> {
    recency: Recency,
    clock: C,
    reports: Mutex<BTreeMap<String, (Mode, i64)>>,
}

impl<C: Clock> Fleet<C> {
    pub(crate) const fn new(online_within: Duration, clock: C) -> Self {
        Self { recency: Recency { online_within }, clock, reports: Mutex::new(BTreeMap::new()) }
    }

    /// These are all elements now.
    pub(crate) fn replace(&self, elements: &[Reported]) {
        let reports = elements.iter().map(Self::entry).collect();
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = reports;
    }

    /// One element has reported.
    pub(crate) fn put(&self, element: &Reported) {
        let (element_id, entry) = Self::entry(element);
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).insert(element_id, entry);
    }

    fn entry(element: &Reported) -> (String, (Mode, i64)) {
        (element.element_id.clone(), (element.report.mode.into(), element.reported_at))
    }

    /// How many elements there are of each mode and status, zeros too.
    pub(crate) fn count(&self) -> BTreeMap<(Mode, Status), u64> {
        let pairs = Mode::ALL.iter().flat_map(|mode| Status::ALL.iter().map(|status| ((*mode, *status), 0)));
        let mut counts: BTreeMap<_, u64> = pairs.collect();
        let now = self.clock.wall();
        for (mode, reported_at) in self.reports.lock().unwrap_or_else(PoisonError::into_inner).values() {
            *counts.entry((*mode, self.recency.status(*reported_at, now).into())).or_default() += 1;
        }
        counts
    }

    /// The element as others see it.
    pub(crate) fn element(&self, reported: Reported) -> Element {
        let status = self.recency.status(reported.reported_at, self.clock.wall());
        let Reported { element_id, report, .. } = reported;
        Element { element_id, url: report.url, mode: report.mode, status, capacity: report.capacity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_api::element::{Capacity, ElementMode, ElementReport};
    use artstore_metrics::TestClock;

    fn reported(element_id: &str, mode: ElementMode, at: i64) -> Reported {
        let capacity = Capacity { capacity_bytes: 2, free_bytes: 1 };
        let report = ElementReport { url: "https://e".to_owned(), mode, capacity };
        Reported { element_id: element_id.to_owned(), report, reported_at: at }
    }

    #[tokio::test(start_paused = true)]
    async fn an_element_goes_offline_by_time_alone() {
        let clock = TestClock::starting_at(UnixTime::from_secs(1_000));
        let fleet = Fleet::new(Duration::from_secs(30), clock);
        fleet.replace(&[reported("a", ElementMode::Edit, 1_000_000)]);
        fleet.put(&reported("b", ElementMode::Rw, 970_000));
        let count = |mode, status| fleet.count()[&(mode, status)];
        assert_eq!((count(Mode::Edit, Status::Online), count(Mode::Rw, Status::Online)), (1, 1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((count(Mode::Rw, Status::Online), count(Mode::Rw, Status::Offline)), (0, 1));
        assert_eq!(fleet.element(reported("b", ElementMode::Rw, 970_000)).status, ElementStatus::Offline);
        assert_eq!(fleet.count().len(), 4);
        fleet.replace(&[]);
        assert_eq!(fleet.count().values().sum::<u64>(), 0);
    }
}
