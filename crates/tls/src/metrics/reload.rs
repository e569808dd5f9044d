//! What is recorded of reloading: how it ended, whether files on disk wait to become usable, and the lists in use.

use crate::crl::CrlInfo;
use artstore_metrics::{
    Clock, Counter, Family, Gauge, Label, LabelSet, LabelValue, Registry, Row, Rows, Samples, UnixTime, label_enum,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

label_enum! {
    /// Why files that have changed are not taken in use.
    pub enum ReloadReason as "reason" {
        /// A file is not there.
        Missing = "missing",
        /// A file cannot be read.
        Unreadable = "unreadable",
        /// A file is empty.
        Empty = "empty",
        /// A file is larger than any bundle.
        TooLarge = "too_large",
        /// A file holds nothing of the kind that is needed.
        NotPem = "not_pem",
        /// What a file holds is broken or cut off.
        Broken = "broken",
        /// The key is not that of the certificate.
        KeyMismatch = "key_mismatch",
        /// It has expired, and what is in use has not.
        Expired = "expired",
        /// It is not valid yet, and what is in use is.
        NotYetValid = "not_yet_valid",
        /// A revocation list that is older than the one in use.
        OlderList = "older_list",
        /// TLS refuses it although it is well-formed.
        Refused = "refused",
    }
}

const RESULT: Label = Label::closed("result", &["success", "failure"]);
const ISSUER: Label = Label::open("issuer", "the issuers of the revocation lists in use; RFC 4514 strings");

/// Reloads by result.
pub const RELOADS: Family = Family::counter(
    "tls_reload_total",
    "Changes of certificates, keys, trust and revocation lists on disk that were taken in use, or cannot be and why.",
)
.labels(&[RESULT, ReloadReason::OR_EMPTY]);

/// When files were last taken in use.
pub const RELOAD_LAST_SUCCESS: Family = Family::gauge(
    "tls_reload_last_success_timestamp_seconds",
    "When certificates, keys, trust or revocation lists were last taken in use, at the start too, since 1970-01-01.",
);

/// Whether files on disk cannot be used.
pub const RELOAD_PENDING_FAILURE: Family = Family::gauge(
    "tls_reload_pending_failure",
    "1 while files on disk cannot be used and those from before serve on, else 0.",
);

/// How old lists are.
pub const CRL_AGE: Family =
    Family::gauge("tls_crl_age_seconds", "Time since the thisUpdate of the oldest revocation list in use, by issuer.")
        .labels(&[ISSUER]);

/// The numbers of lists.
pub const CRL_NUMBER: Family =
    Family::gauge("tls_crl_number", "The number of the revocation list in use, of those that have one, by issuer.")
        .labels(&[ISSUER]);

/// Until when lists count.
pub const CRL_NEXT_UPDATE: Family = Family::gauge(
    "tls_crl_next_update_timestamp_seconds",
    "The nextUpdate of the revocation list in use since 1970-01-01; afterwards its issuer's certificates are refused.",
)
.labels(&[ISSUER]);

/// How many certificates lists revoke.
pub const CRL_REVOKED: Family =
    Family::gauge("tls_crl_revoked_certificates", "Certificates on the revocation list in use, by issuer.")
        .labels(&[ISSUER]);

/// How a reload ended: `reason` is `""` exactly when `result` is `success`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReloadResult {
    Success,
    Failure(ReloadReason),
}

impl Row for ReloadResult {
    fn row(self) -> usize {
        match self {
            Self::Success => 0,
            Self::Failure(reason) => 1 + reason.index(),
        }
    }
}

impl LabelSet for ReloadResult {
    fn names() -> Vec<&'static str> {
        vec![RESULT.name, ReloadReason::LABEL.name]
    }

    fn rows() -> Rows {
        let failures = ReloadReason::ALL.iter().map(|reason| vec![Cow::from("failure"), Cow::from(reason.as_str())]);
        std::iter::once(vec![Cow::from("success"), Cow::from("")]).chain(failures).collect()
    }
}

/// The moments that are exported, shared with what computes the samples.
#[derive(Debug, Default)]
struct State {
    last_success: Option<UnixTime>,
    lists: Vec<CrlInfo>,
}

/// What a reloader records. Clones share it.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    reloads: Counter<ReloadResult>,
    pending_failure: Gauge,
    state: Arc<Mutex<State>>,
}

impl ReloadMetrics {
    /// Registers the families of reloading and of revocation lists.
    #[must_use]
    pub fn new<C: Clock>(registry: &Registry, clock: C) -> Self {
        let metrics = Self {
            reloads: registry.counter(&RELOADS),
            pending_failure: registry.gauge(&RELOAD_PENDING_FAILURE),
            state: Arc::default(),
        };
        let of = metrics.clone();
        registry.computed(&RELOAD_LAST_SUCCESS, move |samples| {
            if let Some(moment) = of.lock().last_success {
                samples.float(&[], moment.as_secs_f64());
            }
        });
        let of = metrics.clone();
        registry.computed(&CRL_AGE, move |samples| {
            let now = clock.wall().as_secs_f64();
            of.by_issuer(samples, f64::max, |list| Some(now - list.this_update.as_secs_f64()));
        });
        let of = metrics.clone();
        registry.computed(&CRL_NUMBER, move |samples| {
            of.by_issuer(samples, f64::min, |list| list.number.as_ref()?.parse().ok());
        });
        let of = metrics.clone();
        registry.computed(&CRL_NEXT_UPDATE, move |samples| {
            of.by_issuer(samples, f64::min, |list| Some(list.next_update?.as_secs_f64()));
        });
        let of = metrics.clone();
        registry.computed(&CRL_REVOKED, move |samples| {
            of.by_issuer(samples, |a, b| a + b, |list| u32::try_from(list.revoked).ok().map(f64::from));
        });
        metrics
    }

    /// Files were taken in use.
    pub(crate) fn succeeded(&self, now: UnixTime) {
        self.lock().last_success = Some(now);
        self.reloads.inc(ReloadResult::Success);
    }

    /// Files were taken in use at the start.
    pub(crate) fn started(&self, now: UnixTime) {
        self.lock().last_success = Some(now);
    }

    /// Files cannot be used.
    pub(crate) fn failed(&self, reason: ReloadReason) {
        self.reloads.inc(ReloadResult::Failure(reason));
    }

    /// Whether there are files on disk that cannot be used.
    pub(crate) fn pending_failure(&self, pending: bool) {
        self.pending_failure.set((), i64::from(pending));
    }

    /// The revocation lists in use from now on.
    pub(crate) fn lists(&self, lists: &[CrlInfo]) {
        self.lock().lists = lists.to_vec();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One sample for each issuer: an issuer with several lists, for parts of its certificates each, is shown by one number.
    fn by_issuer(
        &self,
        samples: &mut Samples<'_>,
        join: impl Fn(f64, f64) -> f64,
        number: impl Fn(&CrlInfo) -> Option<f64>,
    ) {
        let mut issuers: BTreeMap<String, f64> = BTreeMap::new();
        for list in &self.lock().lists {
            if let Some(number) = number(list) {
                issuers.entry(list.issuer.clone()).and_modify(|known| *known = join(*known, number)).or_insert(number);
            }
        }
        for (issuer, number) in issuers {
            samples.float(&[&issuer], number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::{Format, TestClock};

    /// Two lists of one issuer are for different parts of its certificates; the second has neither a number nor an end.
    #[tokio::test(start_paused = true)]
    async fn the_lists_of_one_issuer_are_one_sample() {
        let registry = Registry::new();
        let metrics = ReloadMetrics::new(&registry, TestClock::starting_at(UnixTime::from_secs(1000)));
        let list = |this_update, number: Option<&str>, next_update: Option<u64>, revoked| CrlInfo {
            file: "list.pem".into(),
            issuer: "CN=CA".to_owned(),
            number: number.map(str::to_owned),
            this_update: UnixTime::from_secs(this_update),
            next_update: next_update.map(UnixTime::from_secs),
            revoked,
            sha256_fingerprint: [0; 32],
        };
        metrics.lists(&[
            list(900, Some("7"), Some(2000), 1),
            list(800, None, None, 2),
            list(950, Some("9"), Some(1500), 4),
        ]);
        let text = registry.encode(Format::Text);
        let crl: Vec<&str> = text.lines().filter(|line| line.starts_with("tls_crl_")).collect();
        assert_eq!(
            crl,
            [
                r#"tls_crl_age_seconds{issuer="CN=CA"} 200.0"#,
                r#"tls_crl_number{issuer="CN=CA"} 7.0"#,
                r#"tls_crl_next_update_timestamp_seconds{issuer="CN=CA"} 1500.0"#,
                r#"tls_crl_revoked_certificates{issuer="CN=CA"} 7.0"#,
            ]
        );
    }
}
