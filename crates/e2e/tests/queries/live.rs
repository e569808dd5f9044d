//! A known workload in a real house, scraped by a real Prometheus: every shipped query gives what an independent calculation gives, and
//! what another engine gives.

use crate::agreement::{Answer, answer, apart, distance, given, numbers};
use crate::corpus::{Kind, Shipped, shipped};
use crate::evaluator::evaluate;
use crate::functions::quantile;
use crate::samples::Samples;
use crate::victoria::Victoria;
use crate::workload::{Scrapes, assert_counted, run};
use artstore_e2e::poll;
use artstore_e2e::process::workspace;
use artstore_e2e::prometheus::{Plan, Prometheus, Series};
use artstore_e2e::up::Up;
use std::time::Duration;

/// Between two scrapes, and two evaluations of rules.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// How often the workload is run: so long that a distance between two scrapes is little beside it.
const ROUNDS: u32 = 4;
/// How far an answer may be from the calculation over the same samples: rounding.
const EXACT: f64 = 1e-6;
/// The same where a rule has recorded: a scrape that ended while the rule was evaluated may be missing there.
const RECORDED: f64 = 0.01;
/// How far the test's own count may be: it looks at other moments than Prometheus.
pub(crate) const RATES: f64 = 0.05;
const RATIOS: f64 = 0.01;
/// How far another engine may be.
const OTHER_ENGINE: f64 = 0.05;

#[test]
fn every_shipped_query_gives_what_an_independent_calculation_gives() {
    // Room of the elements' own: how full the machine's disk is must not decide whether an alert fires.
    let up = Up::start_with(&["--token-lifetime", "20", "--element-capacity-bytes", "1000000000"]);
    let rules = std::fs::read_to_string(workspace().join("deploy/prometheus/artstore.rules.yml")).unwrap();
    let prometheus = Prometheus::start(&Plan::of(&up, INTERVAL).with_rules(&rules));
    prometheus.await_targets(4);
    await_scrapes(&prometheus, 12);
    let before = Scrapes::of(&up);
    let began = newest(&prometheus);
    for _ in 0..ROUNDS {
        run(&up);
        await_scrapes(&prometheus, 5);
    }
    let after = Scrapes::of(&up);
    assert_counted(&before, &after, ROUNDS);
    await_scrapes(&prometheus, 8);
    let end = newest(&prometheus) - 2.0;
    let samples = Samples::of(&prometheus, end);
    let window = fair_window(&samples, began, end);
    let queries = shipped(&format!("{window}ms"));
    let engine = Engine { prometheus, end };
    let silent = agrees_with_the_calculation(&engine, &queries, &samples);
    for alert in queries.iter().filter(|query| query.kind == Kind::Alert) {
        let is_silent = silent.iter().any(|query| std::ptr::eq(*query, alert));
        assert_eq!(is_silent, alert.place != "Watchdog", "{} of a healthy house", alert.place);
    }
    agrees_with_the_workload(&engine, &queries, &before, &after, window);
    agrees_with_another_engine(&engine, &queries, &samples);
}

/// When the newest sample was taken.
pub(crate) fn newest(prometheus: &Prometheus) -> f64 {
    prometheus.query("max(timestamp(up))")[0].value()
}

/// Waits until every target has been scraped so many times more.
pub(crate) fn await_scrapes(prometheus: &Prometheus, count: u32) {
    let samples = || prometheus.query("min(count_over_time(up[1h]))").first().map_or(0.0, Series::value);
    let goal = samples() + f64::from(count);
    poll::until("scrapes", Duration::from_secs(30), || (samples() >= goal).then_some(()));
}

/// A window in milliseconds that holds the workload and begins where nothing happens: between the sample before its begin and the
/// one after no counter grows, but those that each scrape moves. There Prometheus, which looks inside of the window only, and an
/// engine that compares with the sample before it see the same.
fn fair_window(samples: &Samples, began: f64, end: f64) -> u64 {
    let is_counter = |series: &&Series| {
        let name = series.label("__name__");
        let by_scrapes = name.starts_with("process_")
            || (name.starts_with("http_server_request") && series.label("listener") == "operations");
        !by_scrapes && ["_total", "_bucket", "_count"].iter().any(|suffix| name.ends_with(suffix))
    };
    let counters: Vec<&Series> = samples.scraped().filter(is_counter).collect();
    let is_quiet = |start: f64| {
        counters.iter().all(|series| {
            let next = series.points.partition_point(|point| point.time < start);
            let around =
                next.checked_sub(1).and_then(|before| Some((series.points[before], *series.points.get(next)?)));
            around.is_none_or(|(before, next)| before.value == next.value)
        })
    };
    let candidates = (2..50).map(|tenths| began - f64::from(tenths) / 10.0);
    let mut quiet = candidates.filter(|start| is_quiet(*start));
    let start = quiet.next().unwrap_or_else(|| panic!("there is no quiet moment before {began}"));
    ((end - start) * 1_000.0) as u64
}

/// The engine under test, at the time of all questions.
pub(crate) struct Engine {
    pub(crate) prometheus: Prometheus,
    pub(crate) end: f64,
}

impl Engine {
    pub(crate) fn ask(&self, query: &str) -> Answer {
        given(self.prometheus.query_at(query, self.end).unwrap_or_else(|error| panic!("{query}: {error}")))
    }

    /// The only value.
    pub(crate) fn value(&self, query: &str) -> f64 {
        let answer = self.ask(query);
        assert_eq!(answer.len(), 1, "{query}: {answer:?}");
        answer.into_values().next().unwrap()
    }
}

/// Every answer is that of the interpreter over raw samples. Gives the queries that are answered with nothing.
pub(crate) fn agrees_with_the_calculation<'a>(
    engine: &Engine,
    queries: &'a [Shipped],
    samples: &Samples,
) -> Vec<&'a Shipped> {
    let (mut wrong, mut silent, mut farthest) = (Vec::new(), Vec::new(), [0.0_f64; 2]);
    for query in queries {
        let text = &query.text;
        let (said, truth) = (engine.ask(text), answer(evaluate(text, samples, engine.end)));
        let is_recorded = samples.records.keys().any(|name| text.contains(name));
        let apart = apart(&said, &truth);
        if apart > if is_recorded { RECORDED } else { EXACT } {
            wrong.push(format!("{}: {text}: {apart}: {said:#?} where the truth is {truth:#?}", query.place));
        }
        farthest[usize::from(is_recorded)] = farthest[usize::from(is_recorded)].max(apart);
        silent.extend(said.is_empty().then_some(query));
    }
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), queries.len(), wrong.join("\n"));
    println!("{} queries agree, to within {farthest:?}; {} give nothing", queries.len(), silent.len());
    silent
}

/// What the test did, by its own scrapes before and after, is what the panels show of it: rates within 5 %, quantiles exactly.
fn agrees_with_the_workload(engine: &Engine, queries: &[Shipped], before: &Scrapes, after: &Scrapes, window: u64) {
    let seconds = Duration::from_millis(window).as_secs_f64();
    let grown = |name: &str, labels: &[(&str, &str)]| after.grown(before, "", name, labels);
    let uploads = engine.ask(panel(queries, &["(ingester_uploads_total", "policy, outcome"]));
    let bytes = engine.ask(panel(queries, &["(ingester_upload_received_bytes_total"]));
    let codes = engine.ask(panel(queries, &["(ingester_errors_total"]));
    let rates = [
        (&uploads, "ingester_uploads_total", &[("policy", "temporary"), ("outcome", "stored")][..]),
        (&uploads, "ingester_uploads_total", &[("policy", "permanent"), ("outcome", "stored")]),
        (&uploads, "ingester_uploads_total", &[("policy", "temporary"), ("outcome", "failed")]),
        (&bytes, "ingester_upload_received_bytes_total", &[("way", "raw")]),
        (&bytes, "ingester_upload_received_bytes_total", &[("way", "multipart")]),
        (&codes, "ingester_errors_total", &[("code", "VALIDATION_ERROR")]),
        (&codes, "ingester_errors_total", &[("code", "NOT_FOUND")]),
    ];
    for (answer, name, labels) in rates {
        let wanted = labels.iter().map(|&(label, value)| (label.to_owned(), value.to_owned())).collect();
        let (rate, truth) = (answer[&wanted], grown(name, labels) / seconds);
        assert!(distance(rate, truth) < RATES, "{name} {labels:?}: {rate} a second where the truth is {truth}");
    }
    // Of several instances each is extrapolated by a little more or less, for it is scraped at another moment.
    let histograms = [
        ("ingester_upload_duration_seconds", EXACT),
        ("ingester_upload_size_bytes", EXACT),
        ("element_commit_duration_seconds", RATIOS),
    ];
    for (family, far) in histograms {
        for q in ["0.5", "0.95", "0.99"] {
            let value = engine.value(panel(queries, &[&format!("({q},"), &format!("({family}_bucket")]));
            let truth = quantile(q.parse().unwrap(), &mut after.buckets(before, family, &[]));
            assert!(distance(value, truth) < far, "{family} at {q}: {value} where the truth is {truth}");
        }
    }
    let reused = "instance_reused:tls_connection_reuse:rate15m{reused";
    for (job, value) in engine.ask(panel(queries, &[reused])) {
        let of = |labels: &[(&str, &str)]| after.grown(before, &job["job"], "tls_connection_reuse_total", labels);
        let truth = of(&[("reused", "true")]) / of(&[]);
        assert!(distance(value, truth) < RATIOS, "{job:?}: {value} where the truth is {truth}");
    }
}

/// The query of a panel that has all of these pieces.
fn panel<'a>(queries: &'a [Shipped], pieces: &[&str]) -> &'a str {
    let has = |query: &&Shipped| query.kind == Kind::Panel && pieces.iter().all(|piece| query.text.contains(piece));
    let found: Vec<&Shipped> = queries.iter().filter(has).collect();
    assert_eq!(found.len(), 1, "{pieces:?}: {found:?}");
    &found[0].text
}

/// The queries of the dashboards alone: they have no window but the one that the test chooses.
fn agrees_with_another_engine(engine: &Engine, queries: &[Shipped], samples: &Samples) {
    let victoria = Victoria::start();
    victoria.import(samples.all());
    let (mut wrong, mut farthest, mut count) = (Vec::new(), 0.0_f64, 0);
    for Shipped { place, text, .. } in queries.iter().filter(|query| query.kind == Kind::Panel) {
        let (other, said) = (numbers(answer(victoria.query(text, engine.end))), numbers(engine.ask(text)));
        let apart = apart(&other, &said);
        (farthest, count) = (farthest.max(apart), count + 1);
        if apart > OTHER_ENGINE {
            wrong.push(format!("{place}: {text}: {apart}: {other:#?} where Prometheus says {said:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}: {}", wrong.len(), wrong.join("\n"));
    println!("{count} queries agree with VictoriaMetrics, to within {farthest}");
}
