//! What a scrape says, against the formats' own rules and against prometheus-client's encoding of the same numbers.

use artstore_metrics::{
    Counter, Exemplar, Family, Format, Gauge, Histogram, Label, LabelSet as _, LabelValue, Outcome, Registry, Row,
    TestClock, UnixTime, label_enum,
};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::{counter, family, gauge, histogram};
use prometheus_client::registry::Unit;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

label_enum! {
    /// Where from.
    enum Source as "source" { Cache = "cache", Fresh = "fresh" }
}
label_enum! {
    /// What went wrong.
    enum ErrorKind as "error_type" { Dns = "dns", Tls = "tls" }
}

const CALLS: Family = Family::counter("calls_total", "Calls by source").labels(&[Source::LABEL]);
const ENDS: Family = Family::counter("ends_total", "Ends").labels(&[Outcome::<ErrorKind>::STATUS, ErrorKind::OR_EMPTY]);
const OPEN: Family = Family::gauge("open_connections", "Open connections");
const TOOK: Family =
    Family::histogram("took_seconds", "Durations", &[0.1, 1.0, 2.5]).labels(&[Source::LABEL, ErrorKind::LABEL]);
const LEFT: Family = Family::gauge("left_days", "Days \"left\" by \\ subject\nof all")
    .labels(&[Label::open("subject", "the certificates loaded")]);
const BY_URL: Family = Family::counter("by_url_total", "By instance")
    .labels(&[ErrorKind::LABEL, Label::open("url", "the configured instances")]);

/// A series of [`BY_URL`]: an error at one of two instances.
#[derive(Clone, Copy)]
struct At(ErrorKind, usize);

impl Row for At {
    fn row(self) -> usize {
        self.0.index() * 2 + self.1
    }
}

fn at_rows() -> Vec<Vec<Cow<'static, str>>> {
    let rows = |error: &ErrorKind| ["https://a", "https://b"].map(|url| vec![error.as_str().into(), url.into()]);
    ErrorKind::ALL.iter().flat_map(rows).collect()
}

#[test]
fn every_combination_is_at_zero_on_the_first_scrape() {
    let registry = Registry::new();
    let _: Counter<Outcome<ErrorKind>> = registry.counter(&ENDS);
    let _: Counter<At> = registry.counter_of_rows(&BY_URL, &at_rows());
    let expected = "# HELP ends_total Ends\n# TYPE ends_total counter\n\
        ends_total{status=\"success\",error_type=\"\"} 0\n\
        ends_total{status=\"failure\",error_type=\"dns\"} 0\n\
        ends_total{status=\"failure\",error_type=\"tls\"} 0\n\
        # HELP by_url_total By instance\n# TYPE by_url_total counter\n\
        by_url_total{error_type=\"dns\",url=\"https://a\"} 0\n\
        by_url_total{error_type=\"dns\",url=\"https://b\"} 0\n\
        by_url_total{error_type=\"tls\",url=\"https://a\"} 0\n\
        by_url_total{error_type=\"tls\",url=\"https://b\"} 0\n";
    assert_eq!(registry.encode(Format::Text), expected);
}

#[test]
fn openmetrics_names_units_and_end_as_its_specification_wants() {
    let registry = Registry::new();
    let calls: Counter<Source> = registry.counter(&CALLS);
    calls.add(Source::Fresh, 3);
    registry.computed(&LEFT, |samples| {
        samples.float(&["O=\"A\\B\",\nCN=c"], -1.5);
        samples.float(&["nan"], f64::NAN);
        samples.float(&["inf"], f64::INFINITY);
        samples.float(&["-inf"], f64::NEG_INFINITY);
        samples.integer(&["whole"], u64::MAX);
    });
    let expected = "# HELP calls Calls by source\n# TYPE calls counter\n\
        calls_total{source=\"cache\"} 0\ncalls_total{source=\"fresh\"} 3\n\
        # HELP left_days Days \\\"left\\\" by \\\\ subject\\nof all\n# TYPE left_days gauge\n# UNIT left_days days\n\
        left_days{subject=\"O=\\\"A\\\\B\\\",\\nCN=c\"} -1.5\n\
        left_days{subject=\"nan\"} NaN\nleft_days{subject=\"inf\"} +Inf\nleft_days{subject=\"-inf\"} -Inf\n\
        left_days{subject=\"whole\"} 18446744073709551615\n# EOF\n";
    assert_eq!(registry.encode(Format::OpenMetrics), expected);
}

#[test]
fn help_in_the_text_format_keeps_its_quotes() {
    let registry = Registry::new();
    registry.computed(&LEFT, |_| {});
    let expected = "# HELP left_days Days \"left\" by \\\\ subject\\nof all\n# TYPE left_days gauge\n";
    assert_eq!(registry.encode(Format::Text), expected);
}

#[test]
fn histogram_buckets_are_cumulative_and_their_bounds_inclusive() {
    let registry = Registry::new();
    let took: Histogram<(Source, ErrorKind)> = registry.histogram(&TOOK);
    let row = (Source::Fresh, ErrorKind::Dns);
    for millis in [100, 101, 2_500, 2_501] {
        took.observe(row, Duration::from_millis(millis));
    }
    let labels = [("source", "fresh"), ("error_type", "dns")];
    let bucket = |le| registry.sum_of("took_seconds_bucket", &[labels[0], labels[1], ("le", le)]);
    assert_eq!(["0.1", "1.0", "2.5", "+Inf"].map(bucket), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(registry.sum_of("took_seconds_count", &labels), 4.0);
    assert!((registry.sum_of("took_seconds_sum", &labels) - 5.202).abs() < 1e-12);
    assert_eq!(took.count(row), 4);
    assert!((took.sum(row) - 5.202).abs() < 1e-12);
    let copy = took.clone();
    took.observe((Source::Cache, ErrorKind::Dns), Duration::ZERO);
    assert_eq!(copy.count((Source::Cache, ErrorKind::Dns)), 1);
}

/// As the example of OpenMetrics has it: `foo_bucket{le="10"} 17 # {trace_id="oHg5SJYRHA0"} 9.8 1520879607.789`.
#[tokio::test(start_paused = true)]
async fn each_bucket_shows_its_last_sampled_trace_in_openmetrics_only() {
    const WAITS: Family = Family::histogram("wait_seconds", "Waits.", &[0.1, 1.0]);
    let registry = Registry::new();
    let waits: Histogram = registry.histogram(&WAITS);
    let clock = TestClock::starting_at(UnixTime::from_secs(1_520_879_607));
    tokio::time::advance(Duration::from_millis(7)).await;
    let exemplar = |trace: &str, flags: &str| {
        let header = format!("00-{trace}-00f067aa0ba902b7-{flags}");
        Exemplar::of(&artstore_trace::Context::parse([header.as_bytes()], []).unwrap(), &clock)
    };
    let (one, two) = ("4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(exemplar(one, "00"), None);
    let plain = registry.encode(Format::OpenMetrics);
    for (millis, exemplar) in [(99, exemplar(two, "01")), (100, exemplar(one, "01")), (100, exemplar(two, "00"))] {
        waits.observe_traced((), Duration::from_millis(millis), exemplar);
    }
    tokio::time::advance(Duration::from_millis(782)).await;
    waits.observe_traced((), Duration::from_millis(1001), exemplar(two, "03"));
    waits.observe((), Duration::from_secs(1));
    let expected = "# HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n\
        wait_seconds_bucket{le=\"0.1\"} 3 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.1 1520879607.007\n\
        wait_seconds_bucket{le=\"1.0\"} 4\n\
        wait_seconds_bucket{le=\"+Inf\"} 5 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 1.001 1520879607.789\n\
        wait_seconds_sum 2.3\nwait_seconds_count 5\n# EOF\n";
    assert_eq!(registry.encode(Format::OpenMetrics), expected);
    assert!(!registry.encode(Format::Text).contains("trace_id") && !plain.contains("trace_id"));
    let labels = "trace_id4bf92f3577b34da6a3ce929d0e0e4736";
    assert!(labels.len() <= 128, "as OpenMetrics demands");
}

#[tokio::test(start_paused = true)]
async fn a_running_task_gives_the_exemplar_of_its_sampled_trace() {
    let clock = TestClock::starting_at(UnixTime::from_secs(5));
    let context = |flags: &str| {
        let header = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        artstore_trace::Context::parse([header.as_bytes()], []).unwrap()
    };
    assert_eq!(Exemplar::current(&clock), None);
    assert_eq!(context("00").enter(|| Exemplar::current(&clock)), None);
    let sampled = context("01").enter(|| Exemplar::current(&clock));
    assert!(sampled.is_some());
    assert_eq!(sampled, Exemplar::of(&context("01"), &clock));
}

/// Whatever comes at once: each bucket shows a trace that was observed in it, with its own value.
#[test]
fn exemplars_of_many_threads_are_never_mixed() {
    const WAITS: Family = Family::histogram("wait_seconds", "Waits.", &[0.1]);
    let registry = Registry::new();
    let waits: Histogram = registry.histogram(&WAITS);
    let clock = artstore_metrics::SystemClock::new();
    std::thread::scope(|scope| {
        for thread in 1..=4_u64 {
            let (waits, clock) = (&waits, &clock);
            scope.spawn(move || {
                for round in 0..2_000_u64 {
                    let header = format!("00-{:032x}-00f067aa0ba902b7-01", thread * 10_000 + round);
                    let context = artstore_trace::Context::parse([header.as_bytes()], []).unwrap();
                    let duration = Duration::from_micros(thread * 10_000 + round);
                    waits.observe_traced((), duration, Exemplar::of(&context, clock));
                }
            });
        }
        for _ in 0..200 {
            let text = registry.encode(Format::OpenMetrics);
            let shown = text.lines().filter_map(|line| line.split_once(" # {trace_id=\"")?.1.split_once("\"} "));
            for (trace, rest) in shown {
                let micros = u64::from_str_radix(trace, 16).unwrap();
                let seconds: f64 = rest.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(Duration::from_micros(micros).as_secs_f64(), seconds, "{trace}");
            }
        }
    });
    assert_eq!(waits.count(()), 8_000);
    assert!(registry.encode(Format::OpenMetrics).contains("trace_id"));
}

#[test]
fn a_held_gauge_falls_when_its_guard_is_dropped_however_that_comes_about() {
    let registry = Registry::new();
    let open: Gauge = registry.gauge(&OPEN);
    let first = open.hold(());
    let panicked = std::thread::spawn({
        let open = open.clone();
        move || {
            let _second = open.hold(());
            assert_eq!(open.value(()), 2);
            std::panic::resume_unwind(Box::new(()));
        }
    });
    assert!(panicked.join().is_err());
    assert_eq!(open.value(()), 1);
    drop(first);
    assert_eq!(open.value(()), 0);
    open.set((), 7);
    open.add((), -2);
    assert_eq!(registry.sum_of("open_connections", &[]), 5.0);
}

#[test]
fn sums_take_the_samples_that_have_all_labels() {
    let registry = Registry::new();
    let by_url: Counter<At> = registry.counter_of_rows(&BY_URL, &at_rows());
    by_url.inc(At(ErrorKind::Dns, 0));
    by_url.add(At(ErrorKind::Dns, 1), 10);
    by_url.add(At(ErrorKind::Tls, 1), 100);
    assert_eq!(registry.sum_of("by_url_total", &[]), 111.0);
    assert_eq!(registry.sum_of("by_url_total", &[("error_type", "dns")]), 11.0);
    assert_eq!(registry.sum_of("by_url_total", &[("url", "https://b"), ("error_type", "dns")]), 10.0);
    assert_eq!(registry.sum_of("by_url_total", &[("url", "https://c")]), 0.0);
    assert_eq!(registry.sum_of("by_url", &[]), 0.0);
    assert_eq!((by_url.sum(), by_url.value(At(ErrorKind::Tls, 1))), (111, 100));
}

/// Four threads update two families together while scrapes go on: no scrape sees one without the other.
#[test]
fn events_are_never_seen_by_halves() {
    const EVENTS: u64 = 20_000;
    let registry = Registry::new();
    let (calls, open): (Counter<Source>, Gauge) = (registry.counter(&CALLS), registry.gauge(&OPEN));
    let sums = |text: &str| {
        let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
        let sum = |name: &str| text.lines().filter(|line| line.starts_with(name)).map(value).sum::<u64>();
        (sum("calls_total"), sum("open_connections"))
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let events = registry.event_lock();
                for _ in 0..EVENTS {
                    let _event = events.event();
                    calls.inc(Source::Cache);
                    open.add((), 1);
                }
            });
        }
        while calls.sum() < 4 * EVENTS {
            let (calls, open) = sums(&registry.encode(Format::Text));
            assert_eq!(calls, open);
        }
    });
    assert_eq!(sums(&registry.encode(Format::Text)), (4 * EVENTS, 4 * EVENTS));
}

#[test]
fn wrong_registrations_fail_at_construction() {
    let fails = |register: fn(&Registry)| {
        let registry = Registry::new();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| register(&registry))).is_err()
    };
    assert!(fails(|r| drop(r.counter::<ErrorKind>(&CALLS))), "labels of another enum");
    assert!(fails(|r| drop(r.counter::<()>(&OPEN))), "a gauge as a counter");
    assert!(fails(|r| drop((r.gauge::<()>(&OPEN), r.gauge::<()>(&OPEN)))), "a name taken");
    assert!(fails(|r| drop(r.counter_of_rows::<At>(&BY_URL, &vec![vec!["dns".into()]]))), "a value too few");
    assert!(fails(|r| drop(r.counter_of_rows::<At>(&BY_URL, &vec![vec!["x".into(), "u".into()]]))), "unknown value");
    assert!(fails(|r| r.computed(&TOOK, |_| {})), "a computed histogram");
    assert!(!fails(|r| drop(r.counter::<Source>(&CALLS))), "a right one");
}

#[test]
fn accept_headers_choose_the_format() {
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let cases = [
        (None, Format::Text),
        (Some(""), Format::Text),
        (Some("*/*"), Format::Text),
        (Some("text/plain"), Format::Text),
        (Some("text/html, */*;q=0.8"), Format::Text),
        (Some(prometheus), Format::OpenMetrics),
        (Some("Application/OpenMetrics-Text"), Format::OpenMetrics),
        (Some("application/openmetrics-text; version=\"1.0.0\"; q=0.4, text/plain;q=0.5"), Format::Text),
        (Some("application/openmetrics-text;version=0.0.1"), Format::Text),
        (Some("application/openmetrics-text;q=0"), Format::Text),
    ];
    for (accept, format) in cases {
        assert_eq!(Format::negotiate(accept), format, "{accept:?}");
    }
    assert_eq!(Format::Text.content_type(), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(Format::OpenMetrics.content_type(), "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

#[test]
fn debug_shows_no_more_than_names_and_numbers() {
    let registry = Registry::new();
    let calls: Counter<Source> = registry.counter(&CALLS);
    calls.inc(Source::Cache);
    let open: Gauge = registry.gauge(&OPEN);
    let took: Histogram<(Source, ErrorKind)> = registry.histogram(&TOOK);
    registry.computed(&LEFT, |samples| assert_eq!(format!("{samples:?}"), "Samples { family: \"left_days\", .. }"));
    assert_eq!(registry.encode(Format::Text).matches("left_days").count(), 2);
    assert_eq!(format!("{registry:?}"), r#"["calls_total", "open_connections", "took_seconds", "left_days"]"#);
    assert_eq!(format!("{calls:?} {open:?}"), "[1, 0] [0]");
    assert_eq!(format!("{took:?}"), "Histogram { bounds: [0.1, 1.0, 2.5], .. }");
    assert_eq!(registry.families().len(), 4);
    assert_eq!((Source::Cache.to_string(), Source::rows().len()), ("cache".to_owned(), 2));
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    source: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TookLabels {
    source: String,
    error_type: String,
}

/// The same numbers through prometheus-client: the same lines, in whatever order.
#[test]
fn openmetrics_equals_what_prometheus_client_writes() {
    let ours = Registry::new();
    let mut theirs = prometheus_client::registry::Registry::default();

    let calls: Counter<Source> = ours.counter(&CALLS);
    let their_calls = family::Family::<CallLabels, counter::Counter>::default();
    theirs.register("calls", "Calls by source", their_calls.clone());
    for (source, count) in [(Source::Cache, 41), (Source::Fresh, u64::from(u32::MAX) + 7)] {
        calls.add(source, count);
        their_calls.get_or_create(&CallLabels { source: source.to_string() }).inc_by(count);
    }

    let open: Gauge = ours.gauge(&OPEN);
    let their_open = gauge::Gauge::<i64>::default();
    theirs.register("open_connections", "Open connections", their_open.clone());
    open.set((), -3);
    their_open.set(-3);

    let took: Histogram<(Source, ErrorKind)> = ours.histogram(&TOOK);
    let their_took = family::Family::<TookLabels, histogram::Histogram>::new_with_constructor(|| {
        histogram::Histogram::new([0.1, 1.0, 2.5])
    });
    theirs.register_with_unit("took", "Durations", Unit::Seconds, their_took.clone());
    for source in Source::ALL {
        for error in ErrorKind::ALL {
            let labels = TookLabels { source: source.to_string(), error_type: error.to_string() };
            let their_took = their_took.get_or_create(&labels);
            for value in [0.05, 0.1, 0.3, 2.5, 99.125] {
                took.observe_value((*source, *error), value);
                their_took.observe(value);
            }
        }
    }

    let mut their_text = String::new();
    text::encode(&mut their_text, &theirs).unwrap();
    assert_eq!(sorted(&ours.encode(Format::OpenMetrics)), sorted(&their_text));
}

/// The lines of a scrape, each with its labels in alphabetical order. prometheus-client ends each HELP with a full stop of
/// its own and writes `le` before the other labels.
fn sorted(text: &str) -> BTreeSet<String> {
    let sorted_line = |line: &str| match line.split_once('{').zip(line.rsplit_once('}')) {
        Some(((name, _), (_, value))) => {
            let mut labels: Vec<&str> = line[name.len() + 1..line.len() - value.len() - 1].split(',').collect();
            labels.sort_unstable();
            format!("{name}{labels:?}{value}")
        }
        None if line.starts_with("# HELP") => line.trim_end_matches('.').to_owned(),
        None => line.to_owned(),
    };
    text.lines().map(sorted_line).collect()
}
