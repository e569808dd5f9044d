//! True durations, or short ones for whoever provokes an alert and does not want to wait for it.

/// How long windows, waits and intervals are, and how much must happen before a ratio counts. All else is the same in every
/// profile: what is measured, the thresholds, the labels, the texts, the routes. A record keeps the name that its true window
/// gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// What operators run.
    #[default]
    Production,
    /// Seconds instead of minutes, hours and days: with a target that is scraped every second, whose tokens live 10 s and which
    /// stores two files a second, an alert comes within 15 s of its cause and ends within 15 s of the repair.
    Fast,
}

/// Windows of rates. A refresh of a token that lives 10 s comes every 5 s: the longer ones hold one at any time.
const WINDOWS: [(&str, &str); 5] = [("5m", "6s"), ("15m", "8s"), ("1h", "9s"), ("6h", "10s"), ("3d", "20s")];
/// For how long an alert's condition must hold.
const HOLDS: [(&str, &str); 6] = [("0s", "0s"), ("1m", "1s"), ("2m", "2s"), ("5m", "3s"), ("10m", "4s"), ("15m", "5s")];
/// Between scrapes, evaluations and notifications. A critical alert keeps its head start over the warnings that it silences.
const INTERVALS: [(&str, &str); 7] =
    [("0s", "0s"), ("10s", "0s"), ("15s", "1s"), ("30s", "1s"), ("5m", "1s"), ("1h", "1m"), ("12h", "12m")];
/// Ages and remaining lives that are compared with a number of seconds.
const SECONDS: [(u32, u32); 2] = [(240, 4), (300, 5)];
/// How many events a window must have for its ratio to count.
const GUARDS: [(u32, u32); 4] = [(3, 2), (5, 1), (10, 1), (50, 8)];

impl Profile {
    /// A window of a rate.
    pub(crate) fn window(self, true_one: &'static str) -> &'static str {
        self.of(&WINDOWS, true_one)
    }

    /// For how long a condition must hold.
    pub(crate) fn hold(self, true_one: &'static str) -> &'static str {
        self.of(&HOLDS, true_one)
    }

    /// Between two of what happens again and again.
    pub(crate) fn interval(self, true_one: &'static str) -> &'static str {
        self.of(&INTERVALS, true_one)
    }

    /// A life or an age, in seconds.
    pub(crate) fn seconds(self, true_ones: u32) -> u32 {
        self.of(&SECONDS, true_ones)
    }

    /// A least number of events.
    pub(crate) fn guard(self, true_one: u32) -> u32 {
        self.of(&GUARDS, true_one)
    }

    /// What the table has for a true value; the value itself if it has nothing, which a test of the whole finds.
    fn of<T: Copy + PartialEq>(self, table: &[(T, T)], true_one: T) -> T {
        match self {
            Self::Production => true_one,
            Self::Fast => table.iter().find(|(from, _)| *from == true_one).map_or(true_one, |(_, to)| *to),
        }
    }
}
