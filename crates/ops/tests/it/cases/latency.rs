//! Stories about how fast the Admin Module answers: a few refreshes an hour, and windows of up to three days.

use super::{A, B, Case, Class, OF_INGESTERS, case, of};
use artstore_auth::metrics::REFRESH_DURATION;

const NAME: &str = "ArtstoreAdminModuleLatencySLO";

/// Exchanges within 500 ms (of one instance) and slower ones (of another).
fn story(class: Class, in_time: &str, slow: &str) -> Case {
    let mut story = case(NAME, class);
    for (target, quick, all) in [(A, in_time, in_time), (B, "0+0x1500", slow)] {
        let of = |suffix, labels: &[(&str, &str)]| of(target, &REFRESH_DURATION, suffix, labels);
        story = story
            .series(of("_bucket", &[("le", "0.25")]), "0+0x1500")
            .series(of("_bucket", &[("le", "0.5")]), quick)
            .series(of("_bucket", &[("le", "1.0")]), all)
            .series(of("_count", &[]), all);
    }
    story
}

/// A counter that grows as the segments say and then stands.
fn grow(segments: &[(u32, u32)]) -> String {
    super::grow(&[segments, &[(0, 200)]].concat())
}

fn repeat(segments: &[(u32, u32)], times: usize) -> String {
    grow(&segments.repeat(times))
}

pub(super) fn cases() -> Vec<Case> {
    [plain(), fast_pair(), low_traffic_pair(), long_pair()].into_iter().flatten().collect()
}

fn plain() -> Vec<Case> {
    let flat = "5+0x60";
    vec![
        story(Class::NoTraffic, flat, flat).silent(&[10, 60]),
        // The windows outlast the target.
        story(Class::AbsentTarget, "0+0x20 stale", "0+10x20 stale")
            .fires(20, OF_INGESTERS, "100%")
            .fires(60, OF_INGESTERS, "100%")
            .silent(&[400]),
        case(NAME, Class::AbsentTarget).silent(&[10]),
        // Restarts of instances that are answered in time.
        story(Class::CounterReset, "900+10x20 0+10x60", "7+0x20 0+0x60").silent(&[21, 22, 60]),
    ]
}

/// A busy service: after 200 good minutes, the first of them the busiest, all are slow; 51 minutes later they are 72 % of an
/// hour's, and yet less than 5 % of all.
fn fast_pair() -> Vec<Case> {
    let good = [(1000, 140), (100, 30), (200, 30)];
    let in_time = |after: &[(u32, u32)]| grow(&[&good, after].concat());
    vec![
        story(Class::Fires, &in_time(&[(0, 60)]), &grow(&[(0, 200), (100, 60)])).silent(&[250, 252]).fires(
            253,
            OF_INGESTERS,
            "79.1%",
        ),
        // An hour later they are quick again: two minutes end it.
        story(
            Class::Resolves,
            &in_time(&[(0, 60), (150, 1), (30, 19)]),
            &grow(&[(0, 200), (100, 50), (300, 5), (100, 5), (0, 20)]),
        )
        .fires(260, OF_INGESTERS, "100%")
        .fires(261, OF_INGESTERS, "97.87%")
        .silent(&[262, 270]),
        // After an hour of nothing five are slow, and 35 minutes later more: the tenth counts, and is held for two minutes.
        story(Class::Fires, &grow(&[(100, 60)]), &grow(&[(0, 120), (1, 5), (0, 35), (1, 8)]))
            .silent(&[129, 164, 166])
            .fires(167, OF_INGESTERS, "100%"),
    ]
}

/// Too few for the fast pair, all counts under 50 for the long one. Most are told in steps of five minutes.
fn low_traffic_pair() -> Vec<Case> {
    vec![
        // One instance, one refresh every 25 minutes: quick for 12 hours, then slow. The fifth slow one is it.
        story(
            Class::Fires,
            &repeat(&[(0, 4), (1, 1)], 28),
            &grow(&[&[(0, 140)][..], &[(0, 4), (1, 1)].repeat(6)].concat()),
        )
        .every(5)
        .silent(&[800, 825])
        .fires(830, OF_INGESTERS, "33.33%"),
        // One every 50 minutes was quick; four in the last 100 minutes are slow.
        story(
            Class::JustBelow,
            &repeat(&[(0, 9), (1, 1)], 14),
            &grow(&[&[(0, 140)][..], &[(0, 4), (1, 1)].repeat(4)].concat()),
        )
        .every(5)
        .silent(&[775, 800, 805]),
        // Two of six an hour, and two of seven.
        story(Class::Fires, &repeat(&[(4, 1), (0, 11)], 7), &repeat(&[(0, 6), (2, 1), (0, 5)], 7)).every(5).fires(
            400,
            OF_INGESTERS,
            "33.33%",
        ),
        story(Class::JustBelow, &repeat(&[(5, 1), (0, 11)], 6), &repeat(&[(0, 6), (2, 1), (0, 5)], 6))
            .every(5)
            .silent(&[200, 300, 355]),
        // Eighteen slow ones, the last of them three an hour; then five quick ones, the last of which makes
        // an hour's share 28.6 %.
        story(
            Class::Resolves,
            &grow(&[(0, 240), (1, 4), (0, 33), (1, 1), (0, 60)]),
            &grow(&[&[(0, 165), (1, 15)][..], &[(0, 19), (1, 1)].repeat(3)].concat()),
        )
        .fires(240, OF_INGESTERS, "100%")
        .fires(275, OF_INGESTERS, "81.82%")
        .silent(&[279, 285, 330]),
        // Six an hour, quick for six hours, then slow: six hours' share passes 30 % with the eleventh.
        story(
            Class::Fires,
            &repeat(&[(0, 1), (1, 1)], 36),
            &grow(&[&[(0, 72)][..], &[(0, 1), (1, 1)].repeat(12)].concat()),
        )
        .every(5)
        .silent(&[460, 470])
        .fires(475, OF_INGESTERS, "30.56%"),
    ]
}

/// More than 5 %, for long.
fn long_pair() -> Vec<Case> {
    vec![
        story(Class::Fires, &grow(&[(94, 60)]), &grow(&[(6, 60)])).fires(10, OF_INGESTERS, "6%").fires(
            60,
            OF_INGESTERS,
            "6%",
        ),
        story(Class::JustBelow, &grow(&[(191, 60)]), &grow(&[(9, 60)])).silent(&[10, 60]),
        // A day of 10 %, and then 4.5 % for six hours.
        story(Class::Resolves, &grow(&[(90, 288), (191, 80)]), &grow(&[(10, 288), (9, 80)]))
            .every(5)
            .fires(1440, OF_INGESTERS, "10%")
            .silent(&[1830]),
        // The fiftieth exchange, of which every fourth is slow.
        story(Class::Fires, &repeat(&[(1, 3), (0, 1)], 20), &repeat(&[(0, 3), (1, 1)], 20)).silent(&[48, 51]).fires(
            52,
            OF_INGESTERS,
            "25%",
        ),
        // After three good days every tenth is slow: half of three days later that is 5 %.
        story(Class::Fires, &grow(&[(60, 144), (54, 80)]), &grow(&[(0, 144), (6, 80)]))
            .every(30)
            .silent(&[4320 + 1110, 4320 + 2130])
            .fires(4320 + 2220, OF_INGESTERS, "5.139%"),
        // One every 90 minutes, every fifth slow: 48 in three days.
        story(
            Class::JustBelow,
            &repeat(&[(0, 2), (1, 1), (0, 2), (1, 1), (0, 2), (1, 1), (0, 2), (1, 1), (0, 3)], 17),
            &repeat(&[(0, 14), (1, 1)], 17),
        )
        .every(30)
        .silent(&[4410, 6900]),
        // One an hour: 72.
        story(
            Class::Fires,
            &repeat(&[(0, 1), (1, 1), (0, 1), (1, 1), (0, 1), (1, 1), (0, 1), (1, 1), (0, 2)], 16),
            &repeat(&[(0, 9), (1, 1)], 16),
        )
        .every(30)
        .fires(4440, OF_INGESTERS, "19.44%"),
    ]
}
