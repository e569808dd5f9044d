//! The steps and how they are told: a line each as they end, or one document for machines.

use super::super::output::{Output, line, printable};
use crate::exit::Exit;
use artstore_metrics::{Clock as _, Monotonic, SystemClock};
use artstore_tls::CertificateInfo;
use artstore_tls::diagnosis::Diagnosis;
use serde::Serialize;
use std::future::Future;
use std::io::IsTerminal as _;
use std::time::Duration;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ok,
    Failed,
    Skipped,
}

/// A certificate for machines.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CertificateDocument {
    subject: String,
    issuer: String,
    names: Vec<String>,
    sha256: String,
    /// Seconds since 1970.
    not_before: u64,
    /// Seconds since 1970.
    not_after: u64,
}

impl From<&CertificateInfo> for CertificateDocument {
    fn from(certificate: &CertificateInfo) -> Self {
        Self {
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            names: certificate.names.clone(),
            sha256: certificate.fingerprint(),
            not_before: certificate.not_before.as_secs(),
            not_after: certificate.not_after.as_secs(),
        }
    }
}

/// What one step found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    result: Outcome,
    /// What is well, what fails, or why it was skipped.
    detail: String,
    /// The class of the failure, as metrics have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    /// Who found it: local, peer or transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    found_by: Option<&'static str>,
    /// What is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    culprit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateDocument>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// The section of the runbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    runbook: Option<String>,
}

impl Finding {
    fn new(result: Outcome, detail: impl Into<String>) -> Self {
        Self {
            result,
            detail: detail.into(),
            error_type: None,
            found_by: None,
            culprit: None,
            certificate: None,
            advice: None,
            runbook: None,
        }
    }

    /// All is well.
    pub(super) fn ok(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, detail)
    }

    /// It was not tried, because…
    pub(super) fn skipped(because: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, because)
    }

    /// It fails. `section` is that of the runbook.
    pub(super) fn failed(detail: impl Into<String>, advice: impl Into<String>, section: &str) -> Self {
        let mut finding = Self::new(Outcome::Failed, detail);
        finding.advice = Some(advice.into());
        finding.runbook = Some(format!("docs/runbooks/tls.md#{section}"));
        finding
    }

    /// The same with the class of the failure.
    pub(super) fn of_type(mut self, error_type: impl Into<String>) -> Self {
        self.error_type = Some(error_type.into());
        self
    }

    /// The same about this certificate.
    pub(super) fn about(mut self, certificate: Option<&CertificateInfo>) -> Self {
        self.certificate = certificate.map(CertificateDocument::from);
        self
    }

    /// A handshake that failed.
    pub(super) fn of(diagnosis: &Diagnosis) -> Self {
        let kind = diagnosis.error.kind().label();
        let mut finding = Self::failed(&diagnosis.summary, &diagnosis.advice, kind).of_type(kind);
        finding.found_by = Some(diagnosis.error.found_by().label());
        finding.culprit = Some(diagnosis.culprit.as_str());
        finding.about(diagnosis.certificate.as_ref())
    }

    /// Whether all is well.
    pub(super) const fn is_ok(&self) -> bool {
        matches!(self.result, Outcome::Ok)
    }
}

/// One step.
#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    /// The file or address.
    target: String,
    #[serde(flatten)]
    finding: Finding,
    seconds: f64,
}

/// The whole for machines.
#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    patient: &'static str,
    failed: usize,
    steps: &'a [Step],
}

/// Takes steps down, and tells each as it ends.
#[derive(Debug)]
pub(super) struct Report {
    patient: &'static str,
    limit: Duration,
    json: bool,
    colours: bool,
    clock: SystemClock,
    steps: Vec<Step>,
}

impl Report {
    pub(super) fn new(patient: &'static str, limit: Duration, json: bool) -> Self {
        let switched_off =
            |name: &str, off: fn(&std::ffi::OsStr) -> bool| std::env::var_os(name).is_some_and(|value| off(&value));
        let plain = switched_off("NO_COLOR", |value| !value.is_empty()) || switched_off("TERM", |term| term == "dumb");
        let colours = std::io::stdout().is_terminal() && !plain;
        Self { patient, limit, json, colours, clock: SystemClock::new(), steps: Vec::new() }
    }

    /// The longest that one step may take.
    pub(super) const fn limit(&self) -> Duration {
        self.limit
    }

    /// How many steps failed.
    pub(super) fn failed(&self) -> usize {
        self.count(Outcome::Failed)
    }

    /// Takes a step, within the limit, and tells how it ended; whether all is well.
    pub(super) async fn step(
        &mut self,
        step: &'static str,
        target: &str,
        work: impl Future<Output = Finding>,
    ) -> Result<bool, Exit> {
        let start = self.clock.monotonic();
        let finding = tokio::time::timeout(self.limit, work).await.unwrap_or_else(|_| {
            let detail = format!("not done within {:?}", self.limit);
            Finding::failed(detail, "see whether the other side is stuck; --step-timeout gives it longer", "timeout")
                .of_type("timeout")
        });
        self.took(step, target, finding, start)
    }

    /// Takes down a step that is done, or was not tried.
    pub(super) fn told(&mut self, step: &'static str, target: &str, finding: Finding) -> Result<bool, Exit> {
        let now = self.clock.monotonic();
        self.took(step, target, finding, now)
    }

    fn took(&mut self, step: &'static str, target: &str, finding: Finding, start: Monotonic) -> Result<bool, Exit> {
        let is_ok = finding.is_ok();
        let seconds = self.clock.monotonic().since(start).as_secs_f64();
        let step = Step { step, target: target.to_owned(), finding, seconds };
        if !self.json {
            line(&told(&step, self.colours))?;
        }
        self.steps.push(step);
        Ok(is_ok)
    }

    /// Tells the whole.
    pub(super) fn finish(&self) -> Result<(), Exit> {
        let failed = self.failed();
        if self.json {
            let document = Document { ok: failed == 0, patient: self.patient, failed, steps: &self.steps };
            return Output { json: true, quiet: false }.document(&document);
        }
        let (ok, skipped) = (self.count(Outcome::Ok), self.count(Outcome::Skipped));
        line(&format!("{}: {ok} ok, {failed} failed, {skipped} skipped", self.patient))
    }

    /// All steps as machines see them.
    #[cfg(test)]
    pub(super) fn steps_for_tests(&self) -> Vec<serde_json::Value> {
        self.steps.iter().map(|step| serde_json::to_value(step).unwrap()).collect()
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.steps.iter().filter(|step| step.finding.result == outcome).count()
    }
}

/// A step for people: one line, and below a failure what to do and where to read on.
fn told(step: &Step, colours: bool) -> String {
    let (word, colour) = match step.finding.result {
        Outcome::Ok => ("ok", "32"),
        Outcome::Failed => ("FAILED", "31;1"),
        Outcome::Skipped => ("skipped", "33"),
    };
    let padded = format!("{word:7}");
    let word = if colours { format!("\u{1b}[{colour}m{padded}\u{1b}[0m") } else { padded };
    let Finding { detail, advice, runbook, .. } = &step.finding;
    let mut text = format!("{word} {:11} {}: {}", step.step, printable(&step.target), printable(detail));
    if let Some(advice) = advice {
        text.push_str(&format!("\n        what to do: {}", printable(advice)));
    }
    if let Some(runbook) = runbook {
        text.push_str(&format!("\n        more: {runbook}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(finding: Finding) -> Step {
        Step { step: "tls", target: "https://a:1".to_owned(), finding, seconds: 0.5 }
    }

    #[test]
    fn a_step_is_a_line_and_a_failure_says_what_to_do() {
        assert_eq!(told(&step(Finding::ok("TLSv1.3")), false), "ok      tls         https://a:1: TLSv1.3");
        let failed = step(Finding::failed("they\u{1b} refuse", "renew", "cert_expired"));
        assert_eq!(
            told(&failed, false),
            "FAILED  tls         https://a:1: they? refuse\n        what to do: renew\n        \
             more: docs/runbooks/tls.md#cert_expired"
        );
        assert!(told(&failed, true).starts_with("\u{1b}[31;1mFAILED \u{1b}[0m tls"));
    }

    #[test]
    fn a_step_for_machines_has_only_what_is_known() {
        assert_eq!(
            serde_json::to_value(step(Finding::failed("no", "do", "dns").of_type("dns"))).unwrap(),
            serde_json::json!({
                "step": "tls", "target": "https://a:1", "result": "failed", "detail": "no", "error_type": "dns",
                "advice": "do", "runbook": "docs/runbooks/tls.md#dns", "seconds": 0.5
            })
        );
        assert_eq!(
            serde_json::to_value(step(Finding::skipped("because"))).unwrap(),
            serde_json::json!({
                "step": "tls", "target": "https://a:1", "result": "skipped", "detail": "because", "seconds": 0.5
            })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_takes_too_long_fails() {
        let mut report = Report::new("client", Duration::from_secs(3), true);
        assert_eq!(report.step("dns", "a", std::future::pending()).await, Ok(false));
        assert_eq!((report.failed(), report.steps[0].finding.detail.as_str()), (1, "not done within 3s"));
    }
}
