//! What the Prometheus operator reads: the rules as a PrometheusRule, the targets as PodMonitors or ServiceMonitors.

use crate::profile::Profile;
use crate::rules::JOBS;
use crate::yaml::Yaml;

/// `prometheusrule.yaml`: the same groups as the plain rule file.
pub(crate) fn prometheus_rule(profile: Profile) -> Yaml {
    resource("PrometheusRule", "artstore", crate::prometheus::rules(profile))
}

/// `podmonitor.yaml`: one for each job, since the rules know the modules by the label `job`. A module's pods carry the label
/// `app.kubernetes.io/name` with the job's name, and name the port of their operations listener `operations`.
pub(crate) fn pod_monitors(profile: Profile) -> Vec<Yaml> {
    monitors("PodMonitor", "podMetricsEndpoints", profile)
}

/// `servicemonitor.yaml`: the same for whoever has a Service with that label and port.
pub(crate) fn service_monitors(profile: Profile) -> Vec<Yaml> {
    monitors("ServiceMonitor", "endpoints", profile)
}

fn monitors(kind: &'static str, endpoints: &'static str, profile: Profile) -> Vec<Yaml> {
    JOBS.into_iter().map(|job| resource(kind, job, monitor(job, endpoints, profile))).collect()
}

fn monitor(job: &'static str, endpoints: &'static str, profile: Profile) -> Yaml {
    let relabeling = Yaml::from([("targetLabel", "job".into()), ("replacement", job.into())]);
    let endpoint = Yaml::from([
        ("port", "operations".into()),
        ("path", "/metrics".into()),
        ("interval", profile.interval("15s").into()),
        ("relabelings", Yaml::from_iter([relabeling])),
    ]);
    Yaml::from([
        ("selector", [("matchLabels", [("app.kubernetes.io/name", job.into())].into())].into()),
        (endpoints, Yaml::from_iter([endpoint])),
    ])
}

fn resource(kind: &str, name: &str, spec: Yaml) -> Yaml {
    Yaml::from([
        ("apiVersion", "monitoring.coreos.com/v1".into()),
        ("kind", kind.into()),
        (
            "metadata",
            [("name", name.into()), ("labels", [("app.kubernetes.io/part-of", "artstore".into())].into())].into(),
        ),
        ("spec", spec),
    ])
}
