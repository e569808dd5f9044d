//! Stories about tokens.

use super::shares::{TooFew, TooMany};
use super::{A, B, Case, Class, case, grow, hold, named, of};
use artstore_auth::metrics::{REFRESH, REQUESTS, SOURCE, TTL};

pub(super) fn cases() -> Vec<Case> {
    [service_down(), high_error_rate(), low_cache_hit_rate(), token_expiring()].into_iter().flatten().collect()
}

fn service_down() -> Vec<Case> {
    const NAME: &str = "ArtstoreAuthServiceDown";
    const LABELS: &[(&str, &str)] = &[("job", "artstore-ingester"), ("instance", "a:9020")];
    let story =
        |class, values| case(NAME, class).series(named(A, "up", &[]), values).series(named(B, "up", &[]), "1+0x40");
    let admin = || named(("artstore-admin", "admin:9000"), "up", &[]);
    vec![
        story(Class::Fires, hold(&[("1", 11), ("0", 20)])).silent(&[10, 12]).fires(13, LABELS, "0"),
        // Two scrapes fail.
        story(Class::JustBelow, hold(&[("1", 11), ("0", 2), ("1", 20)])).silent(&[11, 12, 13, 20]),
        story(Class::Resolves, hold(&[("1", 11), ("0", 5), ("1", 20)])).fires(15, LABELS, "0").silent(&[16, 20]),
        // A restart: one scrape fails.
        story(Class::CounterReset, hold(&[("1", 11), ("0", 1), ("1", 20)])).silent(&[11, 12, 13, 14]),
        // Another module is down.
        story(Class::NoTraffic, hold(&[("1", 40)])).series(admin(), "0+0x40").silent(&[10, 30]),
        case(NAME, Class::AbsentTarget).series(admin(), "1+0x40").silent(&[1]).fires(
            2,
            &[("job", "artstore-ingester")],
            "1",
        ),
    ]
}

fn high_error_rate() -> Vec<Case> {
    let bad = of(A, &REQUESTS, "", &[("status", "failure"), ("error_type", "server_error")]);
    let good = of(B, &REQUESTS, "", &[("status", "success"), ("error_type", "")]);
    let name = "ArtstoreAuthHighErrorRate";
    let mut cases =
        TooMany { alert: name, bad: &bad, good: &good, ignored: None, above: (15, 85, "15%"), below: (14, 86) }.cases();
    // It was bad, and is just good enough now.
    let now = case(name, Class::JustBelow).series(&bad, grow(&[(50, 60), (14, 30)]));
    cases.push(now.series(&good, grow(&[(50, 60), (86, 30)])).fires(60, super::OF_INGESTERS, "50%").silent(&[75, 90]));
    // After three good hours, the last of them quiet, everything fails: the share of an hour passes 14.4 % in the eighth minute.
    let long = case(name, Class::Fires)
        .series(bad, grow(&[(0, 180), (10, 40)]))
        .series(good, grow(&[(100, 120), (20, 30), (0, 70)]));
    cases.push(long.silent(&[186, 187, 188]).fires(190, super::OF_INGESTERS, "100%"));
    cases
}

fn low_cache_hit_rate() -> Vec<Case> {
    let good = of(A, &SOURCE, "", &[("source", "cache")]);
    let bad = of(B, &SOURCE, "", &[("source", "fresh_request")]);
    let name = "ArtstoreAuthLowCacheHitRate";
    TooFew { alert: name, good: &good, bad: &bad, under: (79, "79%"), over: 81, lasts: (11, "69.47%") }.cases()
}

fn token_expiring() -> Vec<Case> {
    const NAME: &str = "ArtstoreAuthTokenExpiring";
    const LABELS: &[(&str, &str)] = &[("job", "artstore-ingester"), ("instance", "a:9020")];
    let story = |class, ttl: &str, failures: String, successes: String| {
        let refresh = |status| of(A, &REFRESH, "", &[("status", status), ("trigger", "expiring_soon")]);
        case(NAME, class)
            .series(of(A, &TTL, "", &[]), ttl)
            .series(refresh("failure"), failures)
            .series(refresh("success"), successes)
            .series(of(B, &TTL, "", &[]), "900+0x60")
    };
    let none = || grow(&[(0, 60)]);
    vec![
        // 240 s are left at minute 12.
        story(Class::Fires, "600-30x20 0+0x20", grow(&[(1, 40)]), none())
            .silent(&[12, 13])
            .fires(14, LABELS, "3m 0s")
            .fires(30, LABELS, "0s"),
        // One failure, which five minutes later is forgotten.
        story(Class::Fires, "100+0x60", grow(&[(0, 10), (1, 1), (0, 40)]), none())
            .silent(&[11, 17, 30])
            .fires(12, LABELS, "1m 40s")
            .fires(15, LABELS, "1m 40s"),
        story(Class::JustBelow, "241+0x60", grow(&[(1, 60)]), none()).silent(&[10, 60]),
        story(Class::Resolves, "100+0x20 1800-60x20", grow(&[(1, 20), (0, 20)]), none())
            .fires(20, LABELS, "1m 40s")
            .silent(&[22, 30]),
        story(Class::CounterReset, "100+0x40", "5+0x20 0+0x20".to_owned(), none()).silent(&[20, 22, 30]),
        story(Class::NoTraffic, "100+0x60", none(), none()).silent(&[10, 60]),
        // Tokens that live shortly, and are refreshed well.
        story(Class::NoTraffic, "100+0x60", none(), grow(&[(1, 60)])).silent(&[10, 60]),
        story(Class::AbsentTarget, "100+0x20 stale", format!("{} stale", grow(&[(1, 20)])), none())
            .fires(20, LABELS, "1m 40s")
            .silent(&[22, 30]),
        // Refreshes fail, but there was no token yet: nothing runs out.
        case(NAME, Class::AbsentTarget)
            .series(of(A, &REFRESH, "", &[("status", "failure"), ("trigger", "initial")]), grow(&[(1, 60)]))
            .silent(&[10, 60]),
    ]
}
