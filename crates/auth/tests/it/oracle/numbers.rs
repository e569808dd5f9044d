//! The numbers of the nine families as the oracle keeps them, and their comparison with a scrape, line by line.

use crate::oracle::party::INSTANCES;

/// What started an acquisition; in the order of the contract's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trigger {
    Initial,
    Expired,
    ExpiringSoon,
    Manual,
}

const TRIGGERS: [&str; 4] = ["initial", "expired", "expiring_soon", "manual"];
const CHECKS: [&str; 4] = ["valid", "expired", "expiring_soon", "missing"];
const TTL: &str = "auth_token_ttl_seconds";
const ACQUISITION_BOUNDS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const EXCHANGE_BOUNDS: [f64; 7] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const STATUS: [&str; 2] = ["success", "failure"];
const KINDS: [&str; 18] = [
    "dns",
    "connect",
    "tls",
    "timeout",
    "transport",
    "rate_limited",
    "server_error",
    "invalid_client",
    "unauthorized_client",
    "invalid_scope",
    "invalid_request",
    "unexpected_status",
    "malformed_response",
    "token_invalid",
    "clock_skew",
    "jwks_unavailable",
    "resource_rejected",
    "internal",
];

/// A histogram by milliseconds.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    buckets: [u64; 9],
    sum: u64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: [0; 9], sum: 0 }
    }

    pub(crate) fn observe(&mut self, ms: u64) {
        for (bound, count) in self.bounds.iter().zip(&mut self.buckets) {
            *count += u64::from(ms as f64 <= bound * 1000.0);
        }
        self.buckets[8] += 1;
        self.sum += ms;
    }
}

/// Every number but the two computed gauges.
#[derive(Debug)]
pub(crate) struct Numbers {
    requests: [u64; 19],
    source: [u64; 2],
    refresh: [[u64; 4]; 2],
    validation: [u64; 4],
    errors: [[u64; 3]; 18],
    pub(crate) acquisition: Histogram,
    pub(crate) exchange: Histogram,
    pub(crate) cancelled: u64,
    /// Acquisitions whose trigger the outside cannot tell: the status, and what it may have been.
    open: Vec<(usize, Vec<Trigger>)>,
    /// Which of the expected samples each line of a scrape is.
    places: Vec<usize>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            requests: [0; 19],
            source: [0; 2],
            refresh: [[0; 4]; 2],
            validation: [0; 4],
            errors: [[0; 3]; 18],
            acquisition: Histogram::new(&ACQUISITION_BOUNDS),
            exchange: Histogram::new(&EXCHANGE_BOUNDS),
            places: Vec::new(),
            cancelled: 0,
            open: Vec::new(),
        }
    }
}

fn kind_index(kind: &str) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap()
}

impl Numbers {
    /// So many callers found this: valid, expired, expiring soon, missing.
    pub(crate) fn checked(&mut self, check: usize, callers: u64) {
        self.validation[check] += callers;
        self.source[check % 2] += callers;
    }

    pub(crate) fn error(&mut self, kind: &str, instance: usize) {
        self.errors[kind_index(kind)][instance] += 1;
    }

    pub(crate) fn set_jwks_unavailable(&mut self, counts: [u64; 3]) {
        self.errors[kind_index("jwks_unavailable")] = counts;
    }

    pub(crate) fn acquired(&mut self, failure: Option<&'static str>, triggers: Vec<Trigger>) {
        self.requests[failure.map_or(0, |kind| 1 + kind_index(kind))] += 1;
        let status = usize::from(failure.is_some());
        match triggers.as_slice() {
            [trigger] => self.refresh[status][*trigger as usize] += 1,
            _ => self.open.push((status, triggers)),
        }
    }

    /// What the scrape says of acquisitions whose trigger is open is believed, if it is one of the possible ones for each.
    fn settle(&mut self, scraped: &[(&str, f64, usize)]) {
        if self.open.is_empty() {
            return;
        }
        let mut missing = [[0; 4]; 2];
        for (key, value, _) in scraped.iter().filter(|(key, ..)| key.starts_with("auth_token_refresh_total")) {
            let status = STATUS.iter().position(|name| key.contains(&format!("status={name:?}"))).unwrap();
            let trigger = TRIGGERS.iter().position(|name| key.contains(&format!("trigger={name:?}"))).unwrap();
            missing[status][trigger] = *value as u64 - self.refresh[status][trigger];
        }
        let open = std::mem::take(&mut self.open);
        assert_eq!(open.len() as u64, missing.iter().flatten().sum::<u64>(), "{open:?}: {missing:?}");
        assert!(fits(&open, &mut missing.clone()), "of {open:?} the scrape says {missing:?}");
        for (count, missing) in self.refresh.iter_mut().flatten().zip(missing.iter().flatten()) {
            *count += missing;
        }
    }

    /// Every sample that must be there.
    fn keys() -> Vec<String> {
        let mut keys = vec!["auth_token_requests_total{status=\"success\",error_type=\"\"}".to_owned()];
        keys.extend(KINDS.map(|kind| format!("auth_token_requests_total{{status=\"failure\",error_type={kind:?}}}")));
        keys.extend(["cache", "fresh_request"].map(|source| format!("auth_token_source_total{{source={source:?}}}")));
        for status in STATUS {
            keys.extend(
                TRIGGERS.map(|trigger| format!("auth_token_refresh_total{{status={status:?},trigger={trigger:?}}}")),
            );
        }
        keys.extend(CHECKS.map(|result| format!("auth_token_validation_total{{result={result:?}}}")));
        for kind in KINDS {
            keys.extend(
                INSTANCES.map(|url| format!("auth_errors_total{{error_type={kind:?},admin_module_url={url:?}}}")),
            );
        }
        for (name, bounds) in [("acquisition", &ACQUISITION_BOUNDS[..]), ("refresh", &EXCHANGE_BOUNDS)] {
            let name = format!("auth_token_{name}_duration_seconds");
            keys.extend(bounds.iter().map(|bound| format!("{name}_bucket{{le=\"{bound:?}\"}}")));
            keys.extend([format!("{name}_bucket{{le=\"+Inf\"}}"), format!("{name}_sum"), format!("{name}_count")]);
        }
        keys
    }

    /// Their values, in the same order.
    fn values(&self) -> Vec<f64> {
        let mut values = Vec::with_capacity(128);
        let mut add = |counts: &[u64]| values.extend(counts.iter().map(|count| *count as f64));
        add(&self.requests);
        add(&self.source);
        self.refresh.iter().for_each(|row| add(row));
        add(&self.validation);
        self.errors.iter().for_each(|row| add(row));
        for histogram in [&self.acquisition, &self.exchange] {
            values.extend(histogram.buckets[..histogram.bounds.len()].iter().map(|count| *count as f64));
            let count = histogram.buckets[8] as f64;
            values.extend([count, histogram.sum as f64 / 1000.0, count]);
        }
        values
    }

    /// Compares all nine families with a scrape in the text format.
    pub(crate) fn assert_equal(&mut self, text: &str, ttl: Option<f64>, waiters: usize) {
        let scraped = lines(text);
        if self.places.is_empty() {
            self.places = places(&scraped);
        }
        let ours = scraped.iter().filter(|(key, _)| *key != TTL);
        assert_eq!(ours.clone().count(), self.places.len());
        let ours: Vec<(&str, f64, usize)> =
            ours.zip(&self.places).map(|((key, value), place)| (*key, *value, *place)).collect();
        self.settle(&ours);
        let values = self.values();
        for (key, actual, place) in ours {
            let expected = match (key, values.get(place)) {
                (_, Some(value)) => *value,
                ("auth_token_acquisition_cancelled_total", None) => self.cancelled as f64,
                ("auth_token_acquisition_waiters", None) => waiters as f64,
                ("auth_token_cache_hit_rate", None) => self.hit_rate(),
                // Families beyond the nine that are not modelled.
                (_, None) => actual,
            };
            let equal = close(actual, expected) || (actual.is_nan() && expected.is_nan());
            assert!(equal, "{key}: scraped {actual}, expected {expected}");
        }
        let actual = scraped.iter().find(|(key, _)| *key == TTL).map(|(_, value)| *value);
        let equal = actual.zip(ttl).map_or(actual.is_none() && ttl.is_none(), |(a, b)| close(a, b));
        assert!(equal, "{TTL}: scraped {actual:?}, expected {ttl:?}");
        self.assert_identities();
    }

    fn hit_rate(&self) -> f64 {
        let [hits, misses] = self.source.map(|count| count as f64);
        if hits + misses == 0.0 { f64::NAN } else { 100.0 * hits / (hits + misses) }
    }

    /// The contract's identities, among the numbers that were just found equal to the scrape.
    fn assert_identities(&self) {
        let requests: u64 = self.requests.iter().sum();
        let refreshes: u64 = self.refresh.iter().flatten().sum();
        assert_eq!((requests, requests), (refreshes, self.acquisition.buckets[8]));
        assert_eq!(self.validation.iter().sum::<u64>(), self.source.iter().sum::<u64>());
        assert_eq!(self.source[0], self.validation[0] + self.validation[2]);
    }
}

/// Exact for counts, and for sums of durations that are whole milliseconds.
fn close(actual: f64, expected: f64) -> bool {
    (actual - expected).abs() < 1e-12 * expected.max(1e4)
}

fn lines(text: &str) -> Vec<(&str, f64)> {
    // Those beyond the nine that come and go have tests of their own.
    let gauges = |line: &str| line.starts_with("auth_token_refresher_") || line.starts_with("auth_jwks_");
    let lines = text.lines().filter(|line| line.starts_with("auth_") && !gauges(line));
    lines.map(|line| line.rsplit_once(' ').map(|(key, value)| (key, value.parse().unwrap())).unwrap()).collect()
}

/// Which of the expected samples each line of a scrape is. All must be there, each once, and no other of the nine families.
fn places(scraped: &[(&str, f64)]) -> Vec<usize> {
    let keys = Numbers::keys();
    for key in &keys {
        assert_eq!(scraped.iter().filter(|(scraped, _)| scraped == key).count(), 1, "{key}");
    }
    let place = |key: &str| {
        let place = keys.iter().position(|known| *known == key).unwrap_or(usize::MAX);
        let labelled = ["requests_total", "source_total", "refresh_total", "validation_total", "duration_seconds"];
        let ours = labelled.iter().any(|name| key.starts_with("auth_token") && key.contains(name));
        assert!(place < usize::MAX || !(ours || key.starts_with("auth_errors_total")), "{key} is not in the contract");
        place
    };
    scraped.iter().filter(|(key, _)| *key != TTL).map(|(key, _)| place(key)).collect()
}

/// Whether each of these can be one of the missing counts, all different.
fn fits(open: &[(usize, Vec<Trigger>)], missing: &mut [[u64; 4]; 2]) -> bool {
    let Some(((status, triggers), rest)) = open.split_first() else { return true };
    triggers.iter().any(|trigger| {
        let (status, trigger) = (*status, *trigger as usize);
        if missing[status][trigger] == 0 {
            return false;
        }
        missing[status][trigger] -= 1;
        let fit = fits(rest, missing);
        missing[status][trigger] += 1;
        fit
    })
}
