//! What the Ingester says about its readiness: the token, the elements, the Admin Module, each with its reason.

use crate::directory::Directory;
use artstore_api::element::ElementMode;
use artstore_auth::{AuthService, TokenState};
use artstore_http::{Dependency, Health, HealthReport};
use artstore_metrics::Clock;

/// Answers from what is known: a check waits for nothing.
pub(crate) struct IngesterHealth<C: Clock> {
    pub(crate) auth: AuthService<C>,
    pub(crate) directory: Directory<C>,
}

impl<C: Clock> Health for IngesterHealth<C> {
    fn ready(&self) -> HealthReport {
        HealthReport::of(vec![self.token(), self.elements(), self.admin()])
    }
}

impl<C: Clock> IngesterHealth<C> {
    fn token(&self) -> Dependency {
        let state = self.auth.state();
        let cause = state.error.map(|error| error.to_string());
        match (state.token, cause) {
            (TokenState::Usable(_), None) => Dependency::ok("token"),
            (TokenState::Usable(left), Some(cause)) => {
                let reason = format!("cannot be renewed ({cause}); usable for {} s", left.as_secs());
                Dependency::degraded("token", reason)
            }
            (TokenState::Missing, None) => Dependency::degraded("token", "none fetched yet"),
            (TokenState::Missing, Some(cause)) => Dependency::fail("token", format!("none: {cause}")),
            (TokenState::Expired, None) => Dependency::degraded("token", "expired; the next request renews it"),
            (TokenState::Expired, Some(cause)) => Dependency::fail("token", format!("expired: {cause}")),
            (TokenState::Closed, _) => Dependency::fail("token", "shutting down"),
        }
    }

    fn elements(&self) -> Dependency {
        let Some((list, _)) = self.directory.held() else {
            return Dependency::fail("elements", "no list of elements is known");
        };
        let missing: Vec<&str> = [ElementMode::Edit, ElementMode::Rw]
            .into_iter()
            .filter(|mode| list.online(*mode).is_empty())
            .map(ElementMode::as_str)
            .collect();
        match missing.as_slice() {
            [] => Dependency::ok("elements"),
            [mode] => Dependency::degraded("elements", format!("none of mode {mode} is online")),
            _ => Dependency::fail("elements", "none is online"),
        }
    }

    fn admin(&self) -> Dependency {
        let Some(error) = self.directory.last_error() else { return Dependency::ok("admin") };
        let age = self.directory.held().map(|(_, age)| age.as_secs());
        match age {
            Some(age) => Dependency::degraded("admin", format!("{error}; the list of elements is {age} s old")),
            None => Dependency::degraded("admin", error),
        }
    }
}
