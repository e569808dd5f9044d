//! What a module says about itself: is it ready, and if not, because of which dependency.

use serde::{Deserialize, Serialize};

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well. Answered with 200.
    Ok,
    /// It works, with less than all: one element away, a token that cannot be renewed but still lasts. Answered with 200.
    Degraded,
    /// It does not work. Answered with 503.
    Fail,
}

impl Status {
    /// The HTTP status of a health check with this result.
    #[must_use]
    pub const fn http(self) -> http::StatusCode {
        match self {
            Self::Ok | Self::Degraded => http::StatusCode::OK,
            Self::Fail => http::StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Fail => "fail",
        }
    }
}

/// One thing that a module depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// What it is: `admin`, `token`, `store`…
    pub name: String,
    /// How well it is.
    pub status: Status,
    /// Why, in a sentence; empty if all is well. Never a secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Dependency {
    /// A dependency that is well.
    #[must_use]
    pub fn ok(name: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Ok, reason: String::new() }
    }

    /// A dependency that works less than well, and why.
    #[must_use]
    pub fn degraded(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Degraded, reason: reason.into() }
    }

    /// A dependency that does not work, and why.
    #[must_use]
    pub fn fail(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Fail, reason: reason.into() }
    }
}

/// The answer of a readiness check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// How well the module is.
    pub status: Status,
    /// Each dependency with its reason.
    pub dependencies: Vec<Dependency>,
}

impl HealthReport {
    /// A report whose status is that of the worst dependency.
    #[must_use]
    pub fn of(dependencies: Vec<Dependency>) -> Self {
        let status = dependencies.iter().map(|dependency| dependency.status).max().unwrap_or(Status::Ok);
        Self { status, dependencies }
    }
}

/// A module that can say whether it is ready. It answers from what it knows already: a health check waits for nothing.
pub trait Health: Send + Sync + 'static {
    /// Whether requests can be served now.
    fn ready(&self) -> HealthReport;
}

impl<F: Fn() -> HealthReport + Send + Sync + 'static> Health for F {
    fn ready(&self) -> HealthReport {
        self()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_as_bad_as_its_worst_dependency() {
        let (ok, degraded) = (Dependency::ok("store"), Dependency::degraded("admin", "last seen 40 s ago"));
        let fail = Dependency::fail("token", "none yet");
        assert_eq!(HealthReport::of(vec![]).status, Status::Ok);
        assert_eq!(HealthReport::of(vec![ok.clone()]).status, Status::Ok);
        assert_eq!(HealthReport::of(vec![ok.clone(), degraded.clone()]).status, Status::Degraded);
        assert_eq!(HealthReport::of(vec![fail, degraded, ok]).status, Status::Fail);
    }

    #[test]
    fn words_and_statuses() {
        for (status, word, code) in
            [(Status::Ok, "ok", 200), (Status::Degraded, "degraded", 200), (Status::Fail, "fail", 503)]
        {
            assert_eq!(serde_json::to_value(status).unwrap(), word);
            assert_eq!((status.as_str(), status.http().as_u16()), (word, code));
        }
    }
}
