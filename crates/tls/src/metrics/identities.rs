//! Whom the list of allowed clients let in, rule by rule: series come and go with the rules.

use super::SERVER_CLIENT_IDENTITY;
use artstore_metrics::Registry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The label's value for clients that no rule names; rules begin with their kind, so none is called like that.
const OTHER: &str = "other";

/// One count for each rule of the list that is in force, and one for everybody else.
#[derive(Debug, Clone)]
pub(crate) struct Identities(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    rules: Vec<(String, u64)>,
    other: u64,
}

impl Identities {
    pub(crate) fn new(registry: &Registry) -> Self {
        let identities = Self(Arc::default());
        let scraped = identities.clone();
        registry.computed(&SERVER_CLIENT_IDENTITY, move |samples| {
            let counts = scraped.lock();
            for (rule, count) in &counts.rules {
                samples.integer(&[rule], *count);
            }
            samples.integer(&[OTHER], counts.other);
        });
        identities
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These rules are in force now; those that were before go on from their count.
    pub(crate) fn are<'a>(&self, rules: impl Iterator<Item = &'a str>) {
        let mut counts = self.lock();
        let known = std::mem::take(&mut counts.rules);
        let count_of = |rule: &str| known.iter().find(|(known, _)| known == rule).map_or(0, |(_, count)| *count);
        counts.rules = rules.map(|rule| (rule.to_owned(), count_of(rule))).collect();
    }

    /// A client was let in by this rule.
    pub(crate) fn allowed(&self, rule: &str) {
        let mut counts = self.lock();
        // A rule that has gone meanwhile has no series.
        if let Some((_, count)) = counts.rules.iter_mut().find(|(known, _)| known == rule) {
            *count += 1;
        }
    }

    /// A client was refused, for no rule names it.
    pub(crate) fn refused(&self) {
        self.lock().other += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_a_rule_that_is_in_force_or_other() {
        let registry = Registry::new();
        let identities = Identities::new(&registry);
        let samples = || {
            let text = registry.encode(artstore_metrics::Format::Text);
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        let sample =
            |rule: &str, count: u64| format!("tls_server_client_identity_total{{identity=\"{rule}\"}} {count}");
        assert_eq!(samples(), [sample("other", 0)]);
        identities.are(["dns:a", "dns:b"].into_iter());
        assert_eq!(samples(), [sample("dns:a", 0), sample("dns:b", 0), sample("other", 0)]);
        ["dns:a", "dns:b", "dns:b", "dns:c"].into_iter().for_each(|rule| identities.allowed(rule));
        identities.refused();
        assert_eq!(samples(), [sample("dns:a", 1), sample("dns:b", 2), sample("other", 1)]);
        identities.are(["dns:c", "dns:b"].into_iter());
        assert_eq!(samples(), [sample("dns:c", 0), sample("dns:b", 2), sample("other", 1)]);
    }
}
