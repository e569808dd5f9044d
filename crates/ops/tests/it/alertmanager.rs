//! The example of Alertmanager's configuration: it is valid, every alert reaches whom it should, and a critical alert silences
//! the warnings that follow from it, in a real Alertmanager.

use crate::cases::severity;
use crate::committed::root;
use crate::promtool::run;
use artstore_ops::groups;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

fn folder() -> std::path::PathBuf {
    root().join("deploy/alertmanager")
}

#[test]
fn amtool_accepts_the_configuration() {
    let (valid, said) = run("amtool", &["check-config", "alertmanager.yml"], &folder());
    assert!(valid && said.contains("4 inhibit rules") && said.contains("3 receivers"), "{said}");
}

#[test]
fn every_alert_reaches_its_receiver() {
    let route = |labels: &[&str]| {
        let arguments = [&["config", "routes", "test", "--config.file=alertmanager.yml"], labels].concat();
        let (valid, said) = run("amtool", &arguments, &folder());
        assert!(valid, "{said}");
        said.lines().next().unwrap_or_default().to_owned()
    };
    for alert in groups().iter().flat_map(|group| &group.alerts) {
        let expected = match severity(alert.name) {
            "none" => "watchdog",
            severity => severity,
        };
        let labels = [format!("alertname={}", alert.name), format!("severity={}", alert.severity.as_str())];
        assert_eq!(route(&[&labels[0], &labels[1]]), expected, "{}", alert.name);
    }
    // Somebody else's alert, of a severity that is unknown here: somebody still hears of it.
    assert_eq!(route(&["alertname=DiskFull", "severity=page"]), "warning");
}

/// A running Alertmanager on a port of its own, ended with the test.
struct Alertmanager {
    process: Child,
    url: String,
    // Removed after the process has ended.
    storage: tempfile::TempDir,
}

impl Alertmanager {
    fn start() -> Self {
        let storage = tempfile::tempdir().unwrap();
        let mut process = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", folder().join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", storage.path().display()))
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("prometheus-alertmanager is needed: run `scripts/test --install` ({error})")
            });
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut lines = log.lines().map(|line| line.unwrap());
        let address = lines.find_map(|line| Some(line.split_once("\"Listening on\" address=")?.1.trim().to_owned()));
        // Its log is read to the end, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url: format!("--alertmanager.url=http://{}", address.unwrap()), storage }
    }

    fn amtool(&self, arguments: &[&str]) -> String {
        let (done, said) = run("amtool", &[&[self.url.as_str()], arguments].concat(), self.storage.path());
        assert!(done, "{said}");
        said
    }

    fn raise(&self, labels: &[(&str, &str)]) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.amtool(&[&["alert", "add"], &labels.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    }

    /// Names and instances of the alerts that are sent, once so many are.
    fn sent(&self, count: usize) -> Vec<(String, String)> {
        let mut sent = Vec::new();
        // An alert is heard by the inhibitor a moment after it is accepted. Each question takes milliseconds.
        for _ in 0..500 {
            let alerts: serde_json::Value =
                serde_json::from_str(&self.amtool(&["alert", "query", "--active", "-o", "json"])).unwrap();
            let text =
                |alert: &serde_json::Value, label: &str| alert["labels"][label].as_str().unwrap_or_default().to_owned();
            sent = alerts
                .as_array()
                .unwrap()
                .iter()
                .map(|alert| (text(alert, "alertname"), text(alert, "instance")))
                .collect();
            sent.sort();
            if sent.len() == count {
                break;
            }
        }
        sent
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every inhibition of the example with one warning that agrees with the cause and, where labels beyond the job decide, one
/// that does not.
#[test]
fn a_critical_alert_silences_the_warnings_that_follow_from_it_and_no_others() {
    let manager = Alertmanager::start();
    let of = |name: &'static str, job, instance| {
        [("alertname", name), ("severity", severity(name)), ("job", job), ("instance", instance)]
    };
    let certificate = |name: &'static str, subject| {
        [&of(name, "artstore-ingester", "a")[..], &[("cert_type", "client"), ("subject", subject)]].concat()
    };
    let warnings = [
        "ArtstoreAuthTokenExpiring",
        "ArtstoreAuthLowCacheHitRate",
        "ArtstoreAdminModuleLatencySLO",
        "ArtstoreUploadFailures",
    ];
    for name in warnings.into_iter().chain(["ArtstoreTlsLowConnectionReuse"]) {
        manager.raise(&of(name, "artstore-ingester", "a"));
        manager.raise(&of(name, "artstore-element", "e"));
    }
    manager.raise(&certificate("ArtstoreTlsCertificateExpiringSoon", "same"));
    manager.raise(&certificate("ArtstoreTlsCertificateExpiringSoon", "other"));
    assert_eq!(manager.sent(12).len(), 12);

    manager.raise(&of("ArtstoreAuthHighErrorRate", "artstore-ingester", "a"));
    manager.raise(&of("ArtstoreTlsHandshakeFailures", "artstore-ingester", "a"));
    manager.raise(&certificate("ArtstoreTlsCertificateExpiryCritical", "same"));
    let names: Vec<(String, String)> = manager.sent(9);
    let expected = [
        ("ArtstoreAdminModuleLatencySLO", "e"),
        ("ArtstoreAuthHighErrorRate", "a"),
        ("ArtstoreAuthLowCacheHitRate", "e"),
        ("ArtstoreAuthTokenExpiring", "e"),
        ("ArtstoreTlsCertificateExpiringSoon", "a"),
        ("ArtstoreTlsCertificateExpiryCritical", "a"),
        ("ArtstoreTlsHandshakeFailures", "a"),
        ("ArtstoreTlsLowConnectionReuse", "e"),
        ("ArtstoreUploadFailures", "e"),
    ];
    assert_eq!(names, expected.map(|(name, instance)| (name.to_owned(), instance.to_owned())));

    // An Ingester that is down: what is left of its own warnings is silent.
    manager.raise(&of("ArtstoreAuthServiceDown", "artstore-ingester", "a"));
    let left = manager.sent(9);
    assert!(!left.contains(&("ArtstoreTlsCertificateExpiringSoon".to_owned(), "a".to_owned())), "{left:?}");
    assert!(left.contains(&("ArtstoreAuthServiceDown".to_owned(), "a".to_owned())), "{left:?}");
}
