//! VictoriaMetrics, another engine of PromQL, with the samples that a Prometheus has.

use crate::samples::NAME;
use artstore_e2e::curl::Curl;
use artstore_e2e::parts::free_ports;
use artstore_e2e::prometheus::{Series, tool};
use artstore_e2e::scrape::Labels;
use artstore_e2e::up::encode;
use artstore_e2e::{plain, poll, process::Running};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use tempfile::TempDir;

/// The longest that a start may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Debian's name of it.
const PROGRAM: &str = "victoria-metrics";

/// A running engine; it is killed when dropped.
pub(crate) struct Victoria {
    _process: Running,
    address: String,
    folder: TempDir,
}

impl Victoria {
    /// Starts an empty one.
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let address = format!("127.0.0.1:{}", free_ports::<1>()[0]);
        let mut command = tool(PROGRAM);
        command.arg(format!("-storageDataPath={}", folder.path().join("data").display()));
        command.arg(format!("-httpListenAddr={address}"));
        // What was imported a moment ago is to be seen.
        command.args(["-search.latencyOffset=0s", "-search.disableCache", "-loggerLevel=WARN"]);
        let mut process = Running::start(&mut command, &folder.path().join("victoria.log"));
        poll::until("VictoriaMetrics is up", LIMIT, || {
            process.assert_alive();
            plain::get(&address, "/health").ok().filter(|answer| answer.status == 200)
        });
        Self { _process: process, address, folder }
    }

    /// Takes these samples in.
    pub(crate) fn import<'a>(&self, all: impl Iterator<Item = &'a Series>) {
        let mut text = String::new();
        for series in all {
            let points: Vec<_> = series.points.iter().filter(|point| !point.value.is_nan()).collect();
            if points.is_empty() {
                continue;
            }
            let values: Vec<f64> = points.iter().map(|point| point.value).collect();
            let times: Vec<i64> = points.iter().map(|point| (point.time * 1_000.0).round() as i64).collect();
            let _ = writeln!(text, "{}", json!({"metric": series.labels, "values": values, "timestamps": times}));
        }
        let file = self.folder.path().join("import.jsonl");
        std::fs::write(&file, text).unwrap();
        let post = Curl::plain(&format!("http://{}/api/v1/import", self.address));
        let answer = post.with(["--data-binary", &format!("@{}", file.display())]).run();
        assert_eq!(answer.status, 204, "{answer}");
        let flushed = plain::get(&self.address, "/internal/force_flush").unwrap();
        assert_eq!(flushed.status, 200, "{flushed}");
    }

    /// What a query gives at a time, without names.
    pub(crate) fn query(&self, query: &str, time: f64) -> Vec<(Labels, f64)> {
        let path = format!("/api/v1/query?{}", encode(&[("query", query), ("time", &format!("{time:.3}"))]));
        let document = plain::get(&self.address, &path).unwrap().json();
        assert_eq!(document["status"], "success", "{query}: {document}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let labels = |metric: &Value| metric.as_object().unwrap().iter().map(|(n, v)| (n.clone(), text(v))).collect();
        let read = |series: &Value| {
            let mut labels: Labels = labels(&series["metric"]);
            labels.remove(NAME);
            (labels, text(&series["value"][1]).parse().unwrap())
        };
        document["data"]["result"].as_array().unwrap().iter().map(read).collect()
    }
}
