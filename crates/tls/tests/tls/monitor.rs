//! The certificate monitor: series, verdicts and log levels for every state of a certificate.

use crate::fixture::*;
use artstore_metrics::{Registry, TestClock, UnixTime};
use artstore_tls::dev::{DevCa, Leaf};
use artstore_tls::{
    CertType, CertificateMetrics, CertificateMonitor, IdentityFiles, ReloadFiles, ReloadMetrics, Reloader, WatchedFile,
};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const START: UnixTime = UnixTime::from_secs(2_000_000_000);

struct Watch {
    registry: Registry,
    clock: TestClock,
    metrics: CertificateMetrics,
}

impl Watch {
    fn new() -> Self {
        let (registry, clock) = (Registry::new(), TestClock::starting_at(START));
        let metrics = CertificateMetrics::new(&registry, clock.clone());
        Self { registry, clock, metrics }
    }

    fn monitor(&self, files: &[(PathBuf, CertType)]) -> CertificateMonitor<TestClock> {
        let watched =
            files.iter().map(|(path, cert_type)| WatchedFile { path: path.clone(), cert_type: *cert_type, key: None });
        CertificateMonitor::new(watched.collect(), self.metrics.clone(), self.clock.clone())
    }

    fn days(&self) -> Vec<(String, String)> {
        moved(&self.registry)
            .into_iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("tls_certificate_expiry_days")?.to_owned(), value)))
            .collect()
    }

    fn verdicts(&self, result: &str) -> f64 {
        self.registry.sum_of("tls_certificate_validation_total", &[("result", result)])
    }
}

fn authority(dir: &TempDir) -> DevCa {
    DevCa::create(dir.path(), "Test CA", START.minus(DAY), START.plus(DAY * 400)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_state_has_its_level_verdict_and_days() {
    let dir = TempDir::new().unwrap();
    let ca = authority(&dir);
    let half_day = DAY / 2;
    for (not_before, not_after, verdict, days, line) in [
        (START.minus(DAY * 2), START.minus(half_day), "expired", "-0.5", ("ERROR", "certificate has expired")),
        (START.plus(DAY), START.plus(DAY * 60), "invalid", "60.0", ("ERROR", "certificate is not valid yet")),
        (
            START.minus(DAY),
            START.plus(half_day * 13),
            "valid",
            "6.5",
            ("WARN", "CRITICAL: certificate expires in less than 7 days"),
        ),
        (
            START.minus(DAY),
            START.plus(DAY * 7),
            "valid",
            "7.0",
            ("WARN", "certificate expires in less than 30 days: action required"),
        ),
        (START.minus(DAY), START.plus(DAY * 30), "valid", "30.0", ("INFO", "certificate is valid")),
    ] {
        let files = ca.issue("leaf", &Leaf::client("leaf", START).valid(not_before, not_after)).unwrap();
        let watch = Watch::new();
        let lines = logged(|| watch.monitor(&[(files.cert.clone(), CertType::Client)]).check());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("{} artstore_tls::monitor: {} ", line.0, line.1)), "{lines:?}");
        assert!(lines[0].contains("cert_type=\"client\"") && lines[0].contains("subject=\"CN=leaf\""), "{lines:?}");
        assert!(lines[0].contains(&format!("days_left={days}")), "{lines:?}");
        assert_eq!(watch.verdicts(verdict), 1.0);
        assert_eq!(watch.registry.sum_of("tls_certificate_validation_total", &[]), 1.0);
        assert_eq!(watch.days(), [(r#"{cert_type="client",subject="CN=leaf"}"#.to_owned(), days.to_owned())]);
    }
}

/// The days go down by themselves, computed when scraped, below zero too.
#[tokio::test(start_paused = true)]
async fn days_are_computed_at_the_scrape() {
    let dir = TempDir::new().unwrap();
    let leaf = Leaf::client("leaf", START).valid(START.minus(DAY), START.plus(DAY * 2));
    let files = authority(&dir).issue("leaf", &leaf).unwrap();
    let watch = Watch::new();
    watch.monitor(&[(files.cert, CertType::Client)]).check();
    tokio::time::advance(DAY * 3).await;
    assert_eq!(watch.days(), [(r#"{cert_type="client",subject="CN=leaf"}"#.to_owned(), "-1.0".to_owned())]);
    assert_eq!(
        watch.registry.sum_of("tls_certificate_not_after_timestamp_seconds", &[]),
        START.plus(DAY * 2).as_secs_f64()
    );
}

/// Every certificate of a bundle counts; of two with one subject the earliest end; a series leaves with its certificate.
#[tokio::test(start_paused = true)]
async fn bundles_duplicates_and_renewals() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let ca = authority(&dir);
    let short = DevCa::create(other.path().join("short"), "Test CA", START.minus(DAY), START.plus(DAY * 100)).unwrap();
    let third = DevCa::create(other.path().join("third"), "Third CA", START.minus(DAY), START.plus(DAY * 200)).unwrap();
    let bundle = dir.path().join("bundle.pem");
    let text: String = [&ca, &short, &third].map(|ca| std::fs::read_to_string(ca.ca_file()).unwrap()).concat();
    std::fs::write(&bundle, text).unwrap();
    let watch = Watch::new();
    // The same authority in a second file is no further certificate.
    let monitor = watch.monitor(&[(bundle.clone(), CertType::Ca), (ca.ca_file().to_owned(), CertType::Ca)]);
    monitor.check();
    assert_eq!(
        watch.days(),
        [
            (r#"{cert_type="ca",subject="CN=Test CA"}"#.to_owned(), "100.0".to_owned()),
            (r#"{cert_type="ca",subject="CN=Third CA"}"#.to_owned(), "200.0".to_owned()),
        ]
    );
    let by_fingerprint = || {
        let series = moved(&watch.registry);
        series.keys().filter(|name| name.starts_with("tls_certificate_not_after_timestamp_seconds")).count()
    };
    assert_eq!((by_fingerprint(), watch.verdicts("valid")), (3, 4.0));

    std::fs::copy(ca.ca_file(), &bundle).unwrap();
    monitor.check();
    assert_eq!(watch.days(), [(r#"{cert_type="ca",subject="CN=Test CA"}"#.to_owned(), "400.0".to_owned())]);
    assert_eq!(by_fingerprint(), 1);
}

/// A file that became unreadable is one verdict and one line; what is known of its certificates stays.
#[tokio::test(start_paused = true)]
async fn a_broken_file_keeps_its_series() {
    let dir = TempDir::new().unwrap();
    let files = authority(&dir).issue("leaf", &Leaf::server("leaf", START)).unwrap();
    let watch = Watch::new();
    let monitor = watch.monitor(&[(files.cert.clone(), CertType::Server)]);
    monitor.check();
    std::fs::write(&files.cert, "half a file").unwrap();
    let lines = logged(|| monitor.check());
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("ERROR artstore_tls::monitor: certificate file cannot be used: "), "{lines:?}");
    assert!(lines[0].contains("no certificate in PEM form found"), "{lines:?}");
    assert_eq!((watch.verdicts("valid"), watch.verdicts("invalid")), (1.0, 1.0));
    assert_eq!(watch.days(), [(r#"{cert_type="server",subject="CN=leaf"}"#.to_owned(), "90.0".to_owned())]);
}

/// At the start, then every hour, until told to stop.
#[tokio::test(start_paused = true)]
async fn checks_hourly_until_cancelled() {
    let dir = TempDir::new().unwrap();
    let files = authority(&dir).issue("leaf", &Leaf::client("leaf", START)).unwrap();
    let watch = Watch::new();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(watch.monitor(&[(files.cert, CertType::Client)]).run(shutdown.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(watch.verdicts("valid"), 1.0);
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert_eq!(watch.verdicts("valid"), 3.0);
    shutdown.cancel();
    running.await.unwrap();

    let quick = watch.monitor(&[]).every(Duration::from_secs(5));
    shutdown.cancel();
    quick.run(shutdown).await;
    assert_eq!(watch.verdicts("valid"), 3.0);
}

/// What is fine is logged once, and again only after it was not; the verdict is counted at every check.
#[tokio::test(start_paused = true)]
async fn what_is_fine_is_logged_once() {
    let dir = TempDir::new().unwrap();
    let ca = authority(&dir);
    let files = ca.issue("leaf", &Leaf::client("leaf", START).valid(START, START.plus(DAY * 31))).unwrap();
    let watch = Watch::new();
    let monitor = watch.monitor(&[(files.cert.clone(), CertType::Client)]);
    let levels = || -> Vec<String> {
        let lines = logged(|| monitor.check());
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!((levels(), levels()), (vec!["INFO".to_owned()], vec![]));
    tokio::time::advance(DAY * 2).await;
    assert_eq!((levels(), levels()), (vec!["WARN".to_owned()], vec!["WARN".to_owned()]));
    ca.issue("leaf", &Leaf::client("leaf", START)).unwrap();
    assert_eq!((levels(), levels()), (vec!["INFO".to_owned()], vec![]));
    assert_eq!(watch.verdicts("valid"), 6.0);
}

/// One verdict, `invalid`, and one line that says what is wrong and what to do.
#[tokio::test(start_paused = true)]
async fn what_cannot_serve_its_purpose_is_said() {
    let dir = TempDir::new().unwrap();
    let ca = authority(&dir);
    let server = ca.issue("server", &Leaf::server("server", START)).unwrap();
    let client = ca.issue("client", &Leaf::client("client", START)).unwrap();
    let mismatched = IdentityFiles { cert: server.cert.clone(), key: client.key.clone() };
    let weak = dir.path().join("weak.pem");
    std::fs::write(&weak, include_str!("weak.pem")).unwrap();
    for (file, what) in [
        (WatchedFile::identity(&mismatched, CertType::Server), "the private key does not belong to the certificate"),
        (WatchedFile::identity(&client, CertType::Server), "may not be a TLS server's"),
        (WatchedFile::identity(&server, CertType::Client), "may not be a TLS client's"),
        (WatchedFile::bundle(server.cert.clone()), "the certificate is not an authority's"),
        (WatchedFile { path: weak, cert_type: CertType::Server, key: None }, "the key is weak"),
    ] {
        let watch = Watch::new();
        let monitor = CertificateMonitor::new(vec![file], watch.metrics.clone(), watch.clock.clone());
        let lines = logged(|| monitor.check());
        assert_eq!((lines.len(), watch.verdicts("invalid")), (1, 1.0), "{what}: {lines:?}");
        assert_eq!(watch.registry.sum_of("tls_certificate_validation_total", &[]), 1.0, "{what}");
        assert!(lines[0].starts_with("ERROR artstore_tls::monitor: certificate cannot be used: "), "{lines:?}");
        assert!(lines[0].contains(what), "{lines:?}");
    }
}

/// Beside a reloader it checks after each reload, and shows nothing of its own.
#[tokio::test(start_paused = true)]
async fn beside_a_reloader_it_checks_after_each_reload() {
    let dir = TempDir::new().unwrap();
    let ca = authority(&dir);
    let files = ca.issue("leaf", &Leaf::server("leaf", START)).unwrap();
    let watch = Watch::new();
    let reload_files = ReloadFiles { server: Some(files.clone()), ..ReloadFiles::default() };
    let metrics = ReloadMetrics::new(&watch.registry, watch.clock.clone());
    let (reloader, _) = Reloader::load(&reload_files, metrics, watch.metrics.clone(), watch.clock.clone()).unwrap();
    let monitor = watch.monitor(&[(files.cert, CertType::Server)]).beside(reloader.reloads());
    let shutdown = CancellationToken::new();
    let both = [tokio::spawn(monitor.run(shutdown.clone())), tokio::spawn(reloader.run(|_| Ok(0), shutdown.clone()))];
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(watch.verdicts("valid"), 1.0);
    ca.issue("leaf", &Leaf::server("leaf", START).valid(START, START.plus(DAY * 50))).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(watch.verdicts("valid"), 2.0);
    let days = watch.registry.sum_of("tls_certificate_expiry_days", &[("cert_type", "server")]);
    assert!((49.9..50.0).contains(&days), "{days}");
    shutdown.cancel();
    for task in both {
        task.await.unwrap();
    }
}
