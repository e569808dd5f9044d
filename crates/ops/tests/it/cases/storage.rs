//! Stories about files.

use super::shares::TooMany;
use super::{A, B, Case, Class, ELEMENT, case, hold, of};
use artstore_element::metrics::{CAPACITY, FREE, OUTBOX_AGE};
use artstore_ingester::metrics::UPLOADS_TOTAL;

const LABELS: &[(&str, &str)] = &[("job", "artstore-element"), ("instance", "e:9010")];

pub(super) fn cases() -> Vec<Case> {
    [upload_failures(), nearly_full(), outbox_lagging()].into_iter().flatten().collect()
}

fn upload_failures() -> Vec<Case> {
    let of = |target, policy, outcome| of(target, &UPLOADS_TOTAL, "", &[("policy", policy), ("outcome", outcome)]);
    let (bad, good) = (of(A, "temporary", "failed"), of(B, "permanent", "stored"));
    let ignored = of(A, "unknown", "rejected");
    let (above, below) = ((6, 94, "6%"), (9, 191));
    let alert = "ArtstoreUploadFailures";
    TooMany { alert, bad: &bad, good: &good, ignored: Some(&ignored), above, below }.cases()
}

fn nearly_full() -> Vec<Case> {
    let story = |class, free: String, capacity: &str| {
        case("ArtstoreStorageNearlyFull", class)
            .series(of(ELEMENT, &FREE, "", &[]), free)
            .series(of(ELEMENT, &CAPACITY, "", &[]), capacity)
    };
    vec![
        story(Class::Fires, hold(&[("95", 60)]), "1000+0x60").silent(&[4]).fires(5, LABELS, "9.5%"),
        story(Class::JustBelow, hold(&[("105", 60)]), "1000+0x60").silent(&[5, 59]),
        story(Class::Resolves, hold(&[("0", 20), ("500", 40)]), "1000+0x60").fires(19, LABELS, "0%").silent(&[20, 40]),
        // A start: neither is known yet.
        story(Class::CounterReset, hold(&[("0", 10), ("500", 40)]), "0+0x9 1000+0x40").silent(&[5, 9, 20]),
        story(Class::NoTraffic, hold(&[("900", 60)]), "1000+0x60").silent(&[5, 59]),
        story(Class::AbsentTarget, "50+0x20 stale".to_owned(), "1000+0x20 stale")
            .fires(20, LABELS, "5%")
            .silent(&[21, 40]),
    ]
}

fn outbox_lagging() -> Vec<Case> {
    let story =
        |class, age: String| case("ArtstoreOutboxLagging", class).series(of(ELEMENT, &OUTBOX_AGE, "", &[]), age);
    vec![
        story(Class::Fires, hold(&[("310", 60)])).silent(&[4]).fires(5, LABELS, "5m 10s"),
        story(Class::JustBelow, hold(&[("290", 60)])).silent(&[5, 59]),
        story(Class::Resolves, hold(&[("3600", 20), ("0", 40)])).fires(19, LABELS, "1h 0m 0s").silent(&[20, 40]),
        // A restart keeps the outbox, and with it the age.
        story(Class::CounterReset, "310+0x10 _x2 430+0x40".to_owned())
            .fires(10, LABELS, "5m 10s")
            .fires(40, LABELS, "7m 10s"),
        story(Class::NoTraffic, hold(&[("0", 60)])).silent(&[5, 59]),
        story(Class::AbsentTarget, "310+0x20 stale".to_owned()).fires(20, LABELS, "5m 10s").silent(&[21, 40]),
    ]
}
