//! Stories that alerts on a share have in common: too many failures, and too few of what is good.

use super::{Case, Class, OF_INGESTERS, case, grow, repeat};

/// An alert on the share of `bad` in `bad` and `good` over 5 minutes, and on at least 3 of `bad`.
pub(super) struct TooMany<'a> {
    pub(super) alert: &'static str,
    /// A series of one instance.
    pub(super) bad: &'a str,
    /// A series of another instance.
    pub(super) good: &'a str,
    /// What happens besides, a hundred a minute, and must not count.
    pub(super) ignored: Option<&'a str>,
    /// `bad` and `good` a minute just above the threshold, and the share as shown.
    pub(super) above: (u32, u32, &'static str),
    /// The same just below.
    pub(super) below: (u32, u32),
}

impl TooMany<'_> {
    fn story(&self, class: Class, bad: impl Into<String>, good: impl Into<String>) -> Case {
        let story = case(self.alert, class).series(self.bad, bad).series(self.good, good);
        match self.ignored {
            Some(ignored) => story.series(ignored, grow(&[(500, 300)])),
            None => story,
        }
    }

    pub(super) fn cases(&self) -> Vec<Case> {
        let (bad, good, share) = self.above;
        let (few, many) = self.below;
        vec![
            self.story(Class::Fires, grow(&[(bad, 60)]), grow(&[(good, 60)]))
                .silent(&[0])
                .fires(10, OF_INGESTERS, share)
                .fires(60, OF_INGESTERS, share),
            // Exactly three, and nothing else.
            self.story(Class::Fires, grow(&[(0, 10), (1, 3), (0, 20)]), grow(&[(0, 33)])).silent(&[12, 17]).fires(
                15,
                OF_INGESTERS,
                "100%",
            ),
            self.story(Class::JustBelow, grow(&[(few, 60)]), grow(&[(many, 60)])).silent(&[10, 60]),
            // Two in any five minutes, and twice as many successes.
            self.story(Class::JustBelow, repeat(&[(1, 2), (0, 3)], 9), repeat(&[(1, 4), (0, 1)], 9))
                .silent(&[10, 20, 23, 27, 40]),
            // One every third minute: never three in five minutes, though in ten.
            self.story(Class::JustBelow, repeat(&[(1, 1), (0, 2)], 15), grow(&[(0, 45)])).silent(&[20, 31, 32, 33, 40]),
            self.story(Class::Resolves, grow(&[(100, 58), (10, 2), (0, 20)]), grow(&[(0, 60), (10, 1), (20, 19)]))
                .fires(60, OF_INGESTERS, "100%")
                // 20 of 70.
                .fires(63, OF_INGESTERS, "28.57%")
                .silent(&[66, 70, 80]),
            self.story(
                Class::CounterReset,
                format!("{} {}", grow(&[(bad, 20)]), grow(&[(bad, 20)])),
                format!("{} {}", grow(&[(good, 20)]), grow(&[(good, 20)])),
            )
            .fires(22, OF_INGESTERS, share)
            .fires(35, OF_INGESTERS, share),
            self.story(Class::CounterReset, "7+0x20 0+0x20", "900+10x20 0+10x20").silent(&[21, 22, 25, 40]),
            self.story(Class::NoTraffic, grow(&[(0, 60)]), grow(&[(0, 60)])).silent(&[10, 60]),
            self.story(
                Class::AbsentTarget,
                format!("{} stale", grow(&[(bad, 20)])),
                format!("{} stale", grow(&[(good, 20)])),
            )
            .fires(20, OF_INGESTERS, share)
            .silent(&[30, 60]),
            case(self.alert, Class::AbsentTarget).silent(&[10]),
        ]
    }
}

/// An alert, held for 10 minutes, on too low a share of `good` over 15 minutes, and on at least 50 events.
pub(super) struct TooFew<'a> {
    pub(super) alert: &'static str,
    pub(super) good: &'a str,
    pub(super) bad: &'a str,
    /// `good` of a hundred events just under the threshold, and the share as shown.
    pub(super) under: (u32, &'static str),
    /// The same just over it.
    pub(super) over: u32,
    /// For how many of 15 minutes after the repair the share is still too low, and what it is in the last of them.
    pub(super) lasts: (u32, &'static str),
}

impl TooFew<'_> {
    fn story(&self, class: Class, good: impl Into<String>, bad: impl Into<String>) -> Case {
        case(self.alert, class).series(self.good, good).series(self.bad, bad)
    }

    pub(super) fn cases(&self) -> Vec<Case> {
        let (good, share) = self.under;
        let (lasts, last) = self.lasts;
        let over = |steps| (grow(&[(self.over, steps)]), grow(&[(100 - self.over, steps)]));
        let (well, ill) = over(60);
        let (restart_well, restart_ill) = over(20);
        vec![
            self.story(Class::Fires, grow(&[(good, 60)]), grow(&[(100 - good, 60)]))
                .silent(&[9])
                .fires(20, OF_INGESTERS, share)
                .fires(60, OF_INGESTERS, share),
            // Exactly fifty in any 15 minutes.
            self.story(Class::Fires, grow(&[(0, 60)]), repeat(&[(10, 5), (0, 10)], 4)).fires(55, OF_INGESTERS, "0%"),
            self.story(Class::JustBelow, well, ill).silent(&[20, 60]),
            // Forty-five.
            self.story(Class::JustBelow, grow(&[(0, 60)]), repeat(&[(9, 5), (0, 10)], 4)).silent(&[35, 45, 52, 60]),
            self.story(Class::Resolves, grow(&[(0, 60), (60, 6), (110, 24)]), grow(&[(500, 50), (100, 10), (0, 30)]))
                .fires(60, OF_INGESTERS, "0%")
                .fires(60 + lasts, OF_INGESTERS, last)
                .silent(&[60 + lasts + 2, 90]),
            self.story(
                Class::CounterReset,
                format!("{restart_well} {restart_well}"),
                format!("{restart_ill} {restart_ill}"),
            )
            .silent(&[21, 25, 40]),
            self.story(Class::NoTraffic, grow(&[(0, 60)]), grow(&[(0, 60)])).silent(&[20, 60]),
            self.story(Class::AbsentTarget, "0+0x20 stale", format!("{} stale", grow(&[(100, 20)])))
                .fires(20, OF_INGESTERS, "0%")
                .silent(&[45, 60]),
            case(self.alert, Class::AbsentTarget).silent(&[30]),
        ]
    }
}
