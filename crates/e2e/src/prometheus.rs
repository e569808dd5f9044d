//! A real Prometheus on loopback: the test says what it scrapes and by which rules, and asks its HTTP API in types.

use crate::plain;
use crate::poll;
use crate::process::Running;
use crate::scrape::Labels;
use crate::up::{House, Query, encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The longest that a start, and a first scrape of every target, may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The name under which the rule file lies beside the configuration.
const RULE_FILE: &str = "artstore.rules.yml";

/// What it scrapes, how often, and what it does with it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Jobs and their addresses (`host:port`).
    pub jobs: Vec<(String, Vec<String>)>,
    /// Between two scrapes, and between two evaluations.
    pub interval: Duration,
    /// The text of a rule file.
    pub rules: Option<String>,
    /// Where an Alertmanager listens.
    pub alertmanager: Option<String>,
}

impl Plan {
    /// The four operations listeners of a house, under the jobs that the rules and dashboards know; no rules.
    #[must_use]
    pub fn of(house: &House, interval: Duration) -> Self {
        let of = |names: &[&str]| names.iter().map(|name| address(house.var(name))).collect();
        let jobs = [
            ("artstore-ingester", &["ARTSTORE_OPS_URL"][..]),
            ("artstore-admin", &["ARTSTORE_ADMIN_OPS_URL"]),
            ("artstore-element", &["ARTSTORE_ELEMENT_EDIT_OPS_URL", "ARTSTORE_ELEMENT_RW_OPS_URL"]),
        ];
        let jobs = jobs.into_iter().map(|(job, names)| (job.to_owned(), of(names))).collect();
        Self { jobs, interval, rules: None, alertmanager: None }
    }

    /// The same with a rule file.
    #[must_use]
    pub fn with_rules(mut self, text: &str) -> Self {
        self.rules = Some(text.to_owned());
        self
    }

    /// JSON, which is YAML.
    fn configuration(&self) -> Value {
        let interval = format!("{}ms", self.interval.as_millis());
        let targets = |addresses: &[String]| json!([{"targets": addresses}]);
        let job =
            |(job, addresses): &(String, Vec<String>)| json!({"job_name": job, "static_configs": targets(addresses)});
        let managers = self.alertmanager.iter().map(|address| json!({"static_configs": [{"targets": [address]}]}));
        json!({
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": self.rules.iter().map(|_| RULE_FILE).collect::<Vec<_>>(),
            "alerting": {"alertmanagers": managers.collect::<Vec<_>>()},
            "scrape_configs": self.jobs.iter().map(job).collect::<Vec<_>>(),
        })
    }
}

/// `host:port` of a URL.
#[must_use]
pub fn address(url: &str) -> String {
    url.split_once("//").map_or(url, |(_, rest)| rest).trim_end_matches('/').to_owned()
}

/// A value at a time, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When.
    pub time: f64,
    /// What.
    pub value: f64,
}

/// One series of an answer; a scalar is one without labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels, `__name__` among them if it has one.
    pub labels: Labels,
    /// Its points, oldest first; an instant vector has one.
    pub points: Vec<Point>,
}

impl Series {
    /// The newest value.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |point| point.value)
    }

    /// A label's value, empty if it has none, as PromQL takes it.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// An alert that Prometheus has active.
#[derive(Debug, Clone, Deserialize)]
pub struct ActiveAlert {
    /// Its labels, `alertname` and `severity` among them.
    pub labels: Labels,
    /// Its annotations, templates filled in.
    pub annotations: Labels,
    /// `pending` or `firing`.
    pub state: String,
    /// The expression's value, as text.
    pub value: String,
}

/// A rule as Prometheus has it loaded.
#[derive(Debug, Clone, Deserialize)]
pub struct LoadedRule {
    /// The record's or alert's name.
    pub name: String,
    /// `recording` or `alerting`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The expression.
    pub query: String,
    /// `ok`, `err` or `unknown` (not evaluated yet).
    pub health: String,
    /// Why not `ok`.
    #[serde(default, rename = "lastError")]
    pub last_error: String,
}

/// A running Prometheus; it is killed when dropped, and its log is shown if the test fails.
#[derive(Debug)]
pub struct Prometheus {
    process: Running,
    address: String,
    // Removed after the process has ended.
    folder: TempDir,
}

impl Prometheus {
    /// Starts it and waits until it answers; its targets may not have been scraped yet (see [`Prometheus::await_targets`]).
    ///
    /// # Panics
    /// When it does not start, or refuses configuration or rules.
    #[must_use]
    pub fn start(plan: &Plan) -> Self {
        Self::start_with(&plan.configuration().to_string(), plan.rules.as_deref().unwrap_or_default())
    }

    /// The same with the text of a configuration, which names its rule file `artstore.rules.yml`, and of that.
    ///
    /// # Panics
    /// When it does not start, or refuses them.
    #[must_use]
    pub fn start_with(configuration: &str, rules: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        std::fs::write(folder.path().join(RULE_FILE), rules).unwrap();
        let mut command = tool("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage"]);
        let (process, address) = start_server(&mut command, &folder.path().join("prometheus.log"));
        Self { process, address, folder }
    }

    /// Where it listens: `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `count` targets have been scraped and answered.
    ///
    /// # Panics
    /// When they do not.
    pub fn await_targets(&self, count: usize) {
        poll::until("every target is up", LIMIT, || (self.query("up == 1").len() == count).then_some(()));
    }

    /// What the expression gives now.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn query(&self, expr: &str) -> Vec<Series> {
        self.ask_query("/api/v1/query", &[("query", expr)]).unwrap_or_else(|error| panic!("{expr}: {error}"))
    }

    /// What the expression gives at `time`, in seconds since 1970.
    ///
    /// # Errors
    /// What Prometheus has against it.
    pub fn query_at(&self, expr: &str, time: f64) -> Result<Vec<Series>, String> {
        self.ask_query("/api/v1/query", &[("query", expr), ("time", &format!("{time:.3}"))])
    }

    /// What it gives from `start` to `end`, every `step` seconds.
    ///
    /// # Errors
    /// What Prometheus has against it.
    pub fn range(&self, expr: &str, start: f64, end: f64, step: f64) -> Result<Vec<Series>, String> {
        let [start, end, step] = [start, end, step].map(|seconds| format!("{seconds:.3}"));
        self.ask_query("/api/v1/query_range", &[("query", expr), ("start", &start), ("end", &end), ("step", &step)])
    }

    /// The label sets of the series that a selector finds.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn series(&self, selector: &str) -> Vec<Labels> {
        self.ask("/api/v1/series", &[("match[]", selector)]).unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// The alerts that are pending or firing.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn alerts(&self) -> Vec<ActiveAlert> {
        #[derive(Deserialize)]
        struct Alerts {
            alerts: Vec<ActiveAlert>,
        }
        self.ask::<Alerts>("/api/v1/alerts", &[]).unwrap_or_else(|error| panic!("alerts: {error}")).alerts
    }

    /// The rules, group by group.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn rules(&self) -> Vec<LoadedRule> {
        #[derive(Deserialize)]
        struct Groups {
            groups: Vec<Group>,
        }
        #[derive(Deserialize)]
        struct Group {
            rules: Vec<LoadedRule>,
        }
        let groups = self.ask::<Groups>("/api/v1/rules", &[]).unwrap_or_else(|error| panic!("rules: {error}")).groups;
        groups.into_iter().flat_map(|group| group.rules).collect()
    }

    /// The field `data` of an answer of the API, for what has no function here.
    ///
    /// # Errors
    /// What Prometheus has against it, or why it does not answer.
    pub fn ask<T: DeserializeOwned>(&self, path: &str, query: Query<'_>) -> Result<T, String> {
        let answer = plain::get(&self.address, &format!("{path}?{}", encode(query))).map_err(|e| e.to_string())?;
        let mut document: Value = serde_json::from_slice(&answer.body).map_err(|error| format!("{error}: {answer}"))?;
        match document["status"].as_str() {
            Some("success") => serde_json::from_value(document["data"].take()).map_err(|error| error.to_string()),
            _ => Err(document["error"].as_str().unwrap_or("no reason is given").to_owned()),
        }
    }

    fn ask_query(&self, path: &str, query: Query<'_>) -> Result<Vec<Series>, String> {
        let data: Value = self.ask(path, query)?;
        let result = &data["result"];
        match data["resultType"].as_str() {
            Some("vector" | "matrix") => Ok(result.as_array().into_iter().flatten().map(read_series).collect()),
            Some("scalar") => Ok(vec![Series { labels: Labels::new(), points: vec![read_point(result)] }]),
            other => Err(format!("an answer of type {other:?}")),
        }
    }
}

/// A server or tool of Debian's, with a hint if it is missing.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn tool(name: &str) -> Command {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()));
    assert!(found, "{name} is needed: run `scripts/test --install`");
    Command::new(name)
}

/// Starts a server of the Prometheus family and waits until it is ready: its process, and the address that it logs once it listens.
pub(crate) fn start_server(command: &mut Command, log: &Path) -> (Running, String) {
    let mut process = Running::start(command, log);
    let address = poll::until("the address in its log", LIMIT, || {
        process.assert_alive();
        let log = process.log();
        let (_, rest) = log.split_once("msg=\"Listening on\" address=")?;
        // The line is whole.
        Some(rest.split_once('\n')?.0.trim().to_owned())
    });
    poll::until("it is ready", LIMIT, || {
        process.assert_alive();
        plain::get(&address, "/-/ready").ok().filter(|answer| answer.status == 200)
    });
    (process, address)
}

fn read_series(series: &Value) -> Series {
    let labels = series["metric"].as_object().into_iter().flatten();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    let points = match series["values"].as_array() {
        Some(points) => points.iter().map(read_point).collect(),
        None => vec![read_point(&series["value"])],
    };
    Series { labels, points }
}

/// `[1700000000.123, "0.5"]`.
fn read_point(pair: &Value) -> Point {
    let text = pair[1].as_str().unwrap_or_else(|| panic!("no point: {pair}"));
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => text.parse().unwrap_or_else(|_| panic!("no number: {pair}")),
    };
    Point { time: pair[0].as_f64().unwrap_or(f64::NAN), value }
}
