//! The rig itself, on a target whose values the test knows: what it says is what is there, and an alert arrives and is resolved.

use artstore_e2e::alertmanager::{Alertmanager, with_webhooks};
use artstore_e2e::poll;
use artstore_e2e::process::workspace;
use artstore_e2e::prometheus::{Plan, Prometheus};
use artstore_e2e::webhook::{Notification, Webhook};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Serves a gauge whose value the test sets: its address.
fn target(value: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = format!("# TYPE level gauge\nlevel{{l=\"a \\\"b\"}} {}\n", value.load(Ordering::Relaxed));
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
            let _ = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    });
    address
}

/// Waits for a notification about the alert.
fn await_told(webhook: &Webhook, alert: &str, status: &str) -> Notification {
    poll::until(&format!("{alert} {status}"), LIMIT, || {
        let is_it =
            |heard: &Notification| heard.alerts.iter().any(|told| told.name() == alert && told.status == status);
        webhook.heard_since(artstore_metrics::Monotonic::default()).into_iter().find(is_it)
    })
}

#[test]
fn queries_are_answered_in_types_and_an_alert_arrives_at_its_receiver_and_is_resolved() {
    let value = Arc::new(AtomicU64::new(3));
    let webhook = Webhook::start();
    let shipped = std::fs::read_to_string(workspace().join("deploy/alertmanager/alertmanager.yml")).unwrap();
    let hasty =
        shipped.replace("group_wait: 10s", "group_wait: 0s").replace("group_interval: 5m", "group_interval: 1s");
    let manager = Alertmanager::start(&with_webhooks(&hasty, &webhook.url()));
    let rules = r#"{"groups": [{"name": "g", "rules": [
        {"record": "job:level:sum", "expr": "sum by (job) (level)"},
        {"alert": "High", "expr": "job:level:sum > 5", "labels": {"severity": "critical"}, "annotations": {"summary": "{{ $value }}"}}]}]}"#;
    let plan = Plan {
        jobs: vec![("j".to_owned(), vec![target(Arc::clone(&value))])],
        interval: Duration::from_millis(500),
        rules: Some(rules.to_owned()),
        alertmanager: Some(manager.address().to_owned()),
    };
    let prometheus = Prometheus::start(&plan);
    prometheus.await_targets(1);

    // A vector with its labels unescaped, a scalar, a matrix, none, and a refusal.
    let vector = prometheus.query("level");
    assert_eq!((vector.len(), vector[0].value(), vector[0].label("l"), vector[0].label("job")), (1, 3.0, "a \"b", "j"));
    assert_eq!(prometheus.query("scalar(vector(2)) * 3")[0].value(), 6.0);
    assert!(prometheus.query("1 / vector(0)")[0].value().is_infinite());
    let time = vector[0].points[0].time;
    let matrix = prometheus.range("level", time, time + 1.0, 0.5).unwrap();
    assert_eq!(matrix[0].points.iter().map(|point| point.value).collect::<Vec<_>>(), [3.0, 3.0, 3.0]);
    assert_eq!(prometheus.query_at("level", time - 3600.0).unwrap(), []);
    assert!(prometheus.query_at("level[", time).unwrap_err().contains("parse error"));
    assert_eq!(prometheus.series("level")[0]["l"], "a \"b");
    poll::until("both rules are evaluated", LIMIT, || {
        let rules = prometheus.rules();
        (rules.len() == 2 && rules.iter().all(|rule| rule.health == "ok")).then_some(())
    });
    assert!(prometheus.alerts().is_empty());

    value.store(7, Ordering::Relaxed);
    let told = await_told(&webhook, "High", "firing");
    assert_eq!((told.path.as_str(), told.alerts.len()), ("/critical", 1));
    assert_eq!(told.alerts[0].annotations["summary"], "7");
    assert_eq!(prometheus.alerts()[0].state, "firing");
    value.store(1, Ordering::Relaxed);
    await_told(&webhook, "High", "resolved");
    assert!(prometheus.alerts().is_empty());
}
