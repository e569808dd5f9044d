//! The status page in a real browser: true, quick, quiet, accessible, and usable without JavaScript.

use artstore_e2e::process::workspace;
use artstore_e2e::scrape::Scrape;
use artstore_e2e::up::Up;
use serde_json::Value;
use std::process::Command;

/// A refresh every five seconds, and what drawing and looking take on a busy machine.
const ONE_REFRESH: f64 = 6.5;

/// What the script found.
fn look(url: &str, up: &Up) -> Value {
    let modules = workspace().join(".node/node_modules");
    for package in ["playwright-core", "axe-core"] {
        assert!(modules.join(package).is_dir(), "{package} is missing: run scripts/test --install");
    }
    assert!(std::path::Path::new("/usr/bin/chromium").is_file(), "chromium is missing: run scripts/test --install");
    let script = workspace().join("crates/e2e/tests/browser/status.mjs");
    let mut command = Command::new(modules.join(".bin/node"));
    command.arg(script).arg(&modules).arg(format!("{url}/")).arg(up.data().join("fault"));
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The first number in a text.
fn number(text: &Value) -> f64 {
    text.as_str().unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The page's numbers lie between those of a scrape before and one after it, to the digits shown.
fn agrees_with_the_scrapes(values: &Value) {
    let scrape = |which: &str| Scrape::parse(values[which].as_str().unwrap());
    let (before, after) = (scrape("before"), scrape("after"));
    let between = |what: &str, shown: f64, rounding: f64, value: &dyn Fn(&Scrape) -> f64| {
        let (one, other) = (value(&before), value(&after));
        let (least, most) = (one.min(other) - rounding, one.max(other) + rounding);
        assert!((least..=most).contains(&shown), "{what}: {shown} is not in {least}..{most}");
    };
    between("token", values["token"].as_str().unwrap().parse().unwrap(), 0.051, &|s| {
        s.value("auth_token_ttl_seconds", &[])
    });
    let connections = |s: &Scrape| s.value("tls_connections_active", &[("protocol", "TLSv1.3")]);
    between("connections", number(&values["connections"]), 0.0, &connections);
    between("hit rate", number(&values["sinceStart"]), 0.051, &|s| s.value("auth_token_cache_hit_rate", &[]));
    let certificates = values["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 3);
    for cells in certificates {
        let [role, subject] = [&cells[0], &cells[1]].map(|cell| cell.as_str().unwrap());
        let days = |s: &Scrape| s.value("tls_certificate_expiry_days", &[("cert_type", role), ("subject", subject)]);
        between(subject, number(&cells[2]), 0.051, &days);
    }
}

#[test]
fn the_status_page_is_true_accessible_and_shows_a_fault_within_one_refresh() {
    let up = Up::start_with(&["--fault", "none"]);
    let url = up.house.var("ARTSTORE_OPS_URL").to_owned();
    let found = look(&url, &up);
    let none = Value::Array(Vec::new());
    assert_eq!(found["axe"], none);
    assert_eq!(found["wide"], none, "wider than the screen");
    assert_eq!(found["complaints"], none, "errors on the console");
    assert_eq!(found["foreign"], none, "requests to elsewhere");

    agrees_with_the_scrapes(&found["values"]);
    assert_eq!(found["values"]["panels"], 21);

    let keyboard = found["keyboard"].as_array().unwrap();
    assert_eq!(keyboard[0]["name"], "Skip to the content");
    assert_eq!(keyboard[1]["id"], "pause");
    assert!(keyboard.len() > 20 && keyboard.len() < 150, "the focus never leaves the page: {}", keyboard.len());
    for stop in keyboard {
        assert_eq!(stop["isSeen"], true, "{stop}");
    }
    assert_eq!(found["afterSkip"], "main");
    assert_eq!((&found["paused"], &found["resumed"]), (&"Paused".into(), &"Refreshes every 5 s".into()));
    assert_eq!(found["ticks"], true);

    for shown in ["faultShownAfter", "repairShownAfter"] {
        assert!(found[shown].as_f64().unwrap() < ONE_REFRESH, "{shown}: {}", found[shown]);
    }
    let alert = found["alert"].as_str().unwrap();
    assert!(alert.contains("pending ArtstoreTlsCertificateExpiryCritical critical"), "{alert}");
    assert!(alert.contains("days are left until notAfter"), "{alert}");
    assert!(
        found["worstCertificate"].as_str().unwrap().contains("expires within days"),
        "{}",
        found["worstCertificate"]
    );

    assert!(found["stale"].as_str().unwrap().starts_with("These numbers are stale: the module does not answer."));
    assert!(found["plain"]["charts"].as_u64().unwrap() >= 10, "{}", found["plain"]);
    assert_eq!(found["plain"]["pause"], false);
}
