//! What a module does with traces: which of those that begin at it are sampled, and where its spans go.

use crate::assemble::TlsPlan;
use crate::config::Values;
use crate::failure::Failure;
use artstore_http::trace::{OtlpExporter, OtlpSettings, TRACES_PATH, otlp};
use artstore_http::{Client, ClientSettings, HttpClientMetrics, TraceMetrics};
use artstore_metrics::{Clock as _, Registry, SystemClock};
use artstore_tls::{CertificateMetrics, Connector, ConnectorMetrics, ConnectorSettings, SetupError};
use artstore_trace::Tracer;
use std::time::Duration;

/// The keys of `[tracing]`.
#[derive(Debug, Clone)]
pub(crate) struct TracePlan {
    /// Base URL of a receiver of OTLP over HTTP; without one, nothing is exported.
    pub(crate) endpoint: Option<String>,
    /// What the module is called there; by its own name if absent.
    pub(crate) service_name: Option<String>,
    /// The share of the traces beginning here that is sampled.
    pub(crate) sample_ratio: f64,
    /// Spans that may wait to be sent.
    pub(crate) queue: usize,
    /// How long a span waits for others to go with it.
    pub(crate) interval: Duration,
    /// How long the receiver may take.
    pub(crate) timeout: Duration,
}

impl TracePlan {
    /// Of a command that does its work and ends: its requests belong to traces that nobody keeps.
    pub(crate) const fn off() -> Self {
        let (interval, timeout) = (Duration::from_secs(1), Duration::from_secs(1));
        Self { endpoint: None, service_name: None, sample_ratio: 0.0, queue: 1, interval, timeout }
    }

    /// As the configuration says.
    pub(crate) fn of(values: &Values) -> Self {
        let queue = values.integer("tracing.queue_spans").and_then(|spans| usize::try_from(spans).ok());
        Self {
            endpoint: values.text("tracing.otlp_endpoint").map(str::to_owned),
            service_name: values.text("tracing.service_name").map(str::to_owned),
            sample_ratio: values.ratio("tracing.sample_ratio"),
            queue: queue.unwrap_or(1),
            interval: values.seconds("tracing.export_interval"),
            timeout: values.seconds("tracing.export_timeout"),
        }
    }
}

/// What a module traces with.
#[derive(Debug)]
pub(crate) struct Traces {
    pub(crate) tracer: Tracer,
    /// To be run, if spans are exported.
    pub(crate) exporter: Option<OtlpExporter<SystemClock>>,
}

impl Traces {
    /// Registers what is measured of them.
    ///
    /// # Errors
    /// An endpoint that is no URL, or a bundle that its certificate cannot be checked by.
    pub(crate) fn new(
        module: &str,
        plan: &TracePlan,
        tls: Option<&TlsPlan>,
        registry: &Registry,
        clock: SystemClock,
    ) -> Result<Self, Failure> {
        let metrics = TraceMetrics::new(registry);
        let now = move || clock.wall().as_duration();
        let Some(endpoint) = &plan.endpoint else {
            return Ok(Self { tracer: Tracer::new(plan.sample_ratio, now, None), exporter: None });
        };
        let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("tracing.otlp_endpoint: {error}"));
        let url = format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')).parse().map_err(|error| wrong(&error))?;
        let service = plan.service_name.clone().unwrap_or_else(|| format!("artstore-{module}"));
        let mut settings = OtlpSettings::new(url, service);
        (settings.queue, settings.interval, settings.timeout) = (plan.queue, plan.interval, plan.timeout);
        // Numbers of its own: the module's connections are those to its peers, whose alerts a receiver must not move.
        let apart = Registry::new();
        let connector = tls.filter(|_| endpoint.starts_with("https:")).map(|tls| connector(tls, &apart, clock));
        let connector = connector.transpose().map_err(|error| wrong(&error))?;
        let client = Client::new(ClientSettings::default(), connector, HttpClientMetrics::new(&apart), clock);
        let (sink, exporter) = otlp(settings, client, metrics);
        Ok(Self { tracer: Tracer::new(plan.sample_ratio, now, Some(sink)), exporter: Some(exporter) })
    }
}

/// Trusts whom the module trusts, and shows no certificate.
fn connector(plan: &TlsPlan, registry: &Registry, clock: SystemClock) -> Result<Connector, SetupError> {
    let mut settings = ConnectorSettings::new(plan.trust.load()?);
    settings.policy = plan.policy.clone();
    settings.handshake_timeout = plan.handshake_timeout;
    let metrics = ConnectorMetrics::new(registry, &plan.policy, CertificateMetrics::new(registry, clock));
    Connector::new(settings, metrics, clock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{keys, load};
    use artstore_trace::Kind;

    fn plan(tracing: &str, variables: &'static [(&str, &str)]) -> Result<TracePlan, String> {
        let env =
            move |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let file = format!("[admin]\nissuer = 'https://a'\n[tracing]\n{tracing}");
        load(&keys::admin(), &file, &env, &[])
            .map(|values| TracePlan::of(&values))
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn nothing_is_exported_unless_told_and_the_usual_variables_tell() {
        let default = plan("", &[]).unwrap();
        assert_eq!((default.endpoint, default.service_name, default.sample_ratio), (None, None, 1.0));
        assert_eq!((default.queue, default.interval.as_secs(), default.timeout.as_secs()), (2048, 5, 10));
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_SERVICE_NAME", "files"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        let env: &'static [(&str, &str)] = Box::leak(Box::new(env));
        let told = plan("otlp_endpoint = 'http://other:4318'\nsample_ratio = 1", env).unwrap();
        assert_eq!(told.endpoint.as_deref(), Some("http://collector:4318"));
        assert_eq!((told.service_name.as_deref(), told.sample_ratio), (Some("files"), 0.25));
        for wrong in ["sample_ratio = 1.1", "sample_ratio = -0.1", "sample_ratio = 'half'", "sample_ratio = nan"] {
            let mistake = plan(wrong, &[]).unwrap_err();
            assert!(mistake.starts_with("tracing.sample_ratio: must be a number from 0 to 1, not "), "{mistake}");
        }
    }

    #[tokio::test]
    async fn without_a_receiver_a_sampled_trace_is_told_to_peers_but_not_recorded() {
        let traces = |plan: &TracePlan| Traces::new("admin", plan, None, &Registry::new(), SystemClock::new()).unwrap();
        let mut plan = plan("", &[]).unwrap();
        let off = traces(&plan);
        let span = off.tracer.child("a", Kind::Internal);
        assert_eq!((span.context().sampled(), span.is_recording(), off.exporter.is_none()), (true, false, true));
        plan.endpoint = Some("http://127.0.0.1:4318/".to_owned());
        let on = traces(&plan);
        assert!(on.tracer.child("a", Kind::Internal).is_recording());
        let exporter = format!("{:?}", on.exporter.unwrap());
        assert!(
            exporter.contains("http://127.0.0.1:4318/v1/traces") && exporter.contains("artstore-admin"),
            "{exporter}"
        );
    }
}
