//! Stories about TLS.

use super::shares::{TooFew, TooMany};
use super::{A, B, Case, Class, case, hold, of};
use artstore_tls::metrics::{
    CERTIFICATE_EXPIRY, CONNECTION_REUSE, CRL_NEXT_UPDATE, HANDSHAKES, RELOAD_PENDING_FAILURE,
};

pub(super) fn cases() -> Vec<Case> {
    [expiry_critical(), expiring_soon(), handshake_failures(), low_reuse(), reload_failing(), crl_stale()]
        .into_iter()
        .flatten()
        .collect()
}

fn handshake_failures() -> Vec<Case> {
    let bad = of(A, &HANDSHAKES, "", &[("status", "failure"), ("error_type", "cert_untrusted")]);
    let good = of(B, &HANDSHAKES, "", &[("status", "success"), ("error_type", "")]);
    let alert = "ArtstoreTlsHandshakeFailures";
    TooMany { alert, bad: &bad, good: &good, ignored: None, above: (21, 79, "21%"), below: (19, 81) }.cases()
}

fn low_reuse() -> Vec<Case> {
    let good = of(A, &CONNECTION_REUSE, "", &[("reused", "true")]);
    let bad = of(B, &CONNECTION_REUSE, "", &[("reused", "false")]);
    let alert = "ArtstoreTlsLowConnectionReuse";
    TooFew { alert, good: &good, bad: &bad, under: (69, "69%"), over: 71, lasts: (10, "61.54%") }.cases()
}

const AWKWARD: &str = "CN=a\\,b \"c\",O=ArtStore";
const LABELS: &[(&str, &str)] =
    &[("job", "artstore-ingester"), ("instance", "a:9020"), ("cert_type", "client"), ("subject", AWKWARD)];

/// A certificate of ours, and another that is good for long.
fn story(alert: &'static str, class: Class, days: impl Into<String>) -> Case {
    let other = of(A, &CERTIFICATE_EXPIRY, "", &[("cert_type", "ca"), ("subject", "CN=Root")]);
    case(alert, class)
        .series(of(A, &CERTIFICATE_EXPIRY, "", &[("cert_type", "client"), ("subject", AWKWARD)]), days)
        .series(other, "900+0x90")
}

fn expiry_critical() -> Vec<Case> {
    const NAME: &str = "ArtstoreTlsCertificateExpiryCritical";
    let story = |class, days| story(NAME, class, days);
    vec![
        story(Class::Fires, hold(&[("6.5", 60)])).silent(&[4]).fires(5, LABELS, "6.5"),
        story(Class::Fires, hold(&[("-1.5", 60)])).fires(5, LABELS, "-1.5"),
        story(Class::JustBelow, hold(&[("7.5", 60)])).silent(&[5, 59]),
        // Renewed.
        story(Class::Resolves, hold(&[("3", 20), ("89.9", 40)])).fires(19, LABELS, "3.0").silent(&[20, 30]),
        // A restart: the gauge is computed anew.
        story(Class::CounterReset, "6.5+0x10 _x2 6.5+0x40".to_owned())
            .fires(10, LABELS, "6.5")
            .fires(40, LABELS, "6.5"),
        story(Class::NoTraffic, hold(&[("60", 60)])).silent(&[5, 59]),
        // The series leaves with its certificate.
        story(Class::AbsentTarget, "6.5+0x20 stale".to_owned()).fires(20, LABELS, "6.5").silent(&[21, 40]),
    ]
}

fn expiring_soon() -> Vec<Case> {
    const NAME: &str = "ArtstoreTlsCertificateExpiringSoon";
    let story = |class, days| story(NAME, class, days);
    vec![
        story(Class::Fires, hold(&[("29", 60)])).silent(&[14]).fires(15, LABELS, "29.0"),
        story(Class::Fires, hold(&[("7", 60)])).fires(15, LABELS, "7.0"),
        story(Class::JustBelow, hold(&[("30.5", 60)])).silent(&[15, 59]),
        // The critical alert's.
        story(Class::JustBelow, hold(&[("6.9", 60)])).silent(&[15, 59]),
        story(Class::Resolves, hold(&[("20", 20), ("89.9", 40)])).fires(19, LABELS, "20.0").silent(&[20, 30]),
        story(Class::CounterReset, "20+0x20 _x2 20+0x40".to_owned())
            .fires(20, LABELS, "20.0")
            .fires(50, LABELS, "20.0"),
        story(Class::NoTraffic, hold(&[("60", 60)])).silent(&[15, 59]),
        story(Class::AbsentTarget, "20+0x20 stale".to_owned()).fires(20, LABELS, "20.0").silent(&[21, 40]),
        case(NAME, Class::AbsentTarget)
            .series(of(B, &CERTIFICATE_EXPIRY, "", &[("cert_type", "server"), ("subject", "CN=b")]), "80+0x60")
            .silent(&[30]),
    ]
}

fn reload_failing() -> Vec<Case> {
    const LABELS: &[(&str, &str)] = &[("job", "artstore-ingester"), ("instance", "a:9020")];
    let story = |class, values: String| {
        case("ArtstoreTlsReloadFailing", class).series(of(A, &RELOAD_PENDING_FAILURE, "", &[]), values)
    };
    vec![
        story(Class::Fires, hold(&[("0", 10), ("1", 40)])).silent(&[9, 11]).fires(12, LABELS, "1"),
        // The second file of a pair comes within two minutes.
        story(Class::JustBelow, hold(&[("0", 10), ("1", 2), ("0", 40)])).silent(&[10, 11, 12, 20]),
        story(Class::Resolves, hold(&[("1", 20), ("0", 40)])).fires(19, LABELS, "1").silent(&[20, 40]),
        // A restart reads the files anew, or does not start.
        story(Class::CounterReset, hold(&[("1", 1), ("0", 40)])).silent(&[0, 1, 2, 3]),
        story(Class::NoTraffic, hold(&[("0", 60)])).silent(&[5, 59]),
        story(Class::AbsentTarget, "1+0x20 stale".to_owned()).fires(20, LABELS, "1").silent(&[21, 40]),
    ]
}

/// Time in stories begins in 1970.
fn crl_stale() -> Vec<Case> {
    const LABELS: &[(&str, &str)] =
        &[("job", "artstore-ingester"), ("instance", "a:9020"), ("issuer", "CN=Issuing CA")];
    let story = |class, next_update: &str| {
        case("ArtstoreTlsCrlStale", class)
            .series(of(A, &CRL_NEXT_UPDATE, "", &[("issuer", "CN=Issuing CA")]), next_update)
            .series(of(A, &CRL_NEXT_UPDATE, "", &[("issuer", "CN=Other CA")]), "900000+0x120")
    };
    vec![
        // At minute 40 an hour is left; at 101 it is a minute too late.
        story(Class::Fires, "6000+0x120").silent(&[40, 45]).fires(46, LABELS, "54m 0s").fires(101, LABELS, "-1m 0s"),
        // An hour and five minutes are left at the end.
        story(Class::JustBelow, "11100+0x120").silent(&[10, 119]),
        story(Class::Resolves, "1000+0x20 90000+0x80").fires(20, LABELS, "-3m 20s").silent(&[21, 60]),
        story(Class::CounterReset, "6000+0x80 _x2 6000+0x40").fires(80, LABELS, "20m 0s").fires(90, LABELS, "10m 0s"),
        story(Class::NoTraffic, "90000+0x120").silent(&[10, 119]),
        story(Class::AbsentTarget, "1000+0x20 stale").fires(20, LABELS, "-3m 20s").silent(&[21, 60]),
    ]
}
