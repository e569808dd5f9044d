//! The command line of `artstore up`.

use super::fault::Fault;
use crate::config::is_base_url;
use crate::logging;
use crate::traces::TracePlan;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// How many uploads a second `--demo-traffic` makes unless told otherwise.
const DEMO_RATE: &str = "2";
/// How long tokens live while faults are armed, in seconds: several exchanges happen while one watches.
const FAULT_TOKEN_LIFETIME: u64 = 20;
/// How long tokens live otherwise, in seconds.
const TOKEN_LIFETIME: u64 = 1_800;

const AFTER_HELP: &str = "\
Examples:
  artstore up
  artstore up --data /tmp/try --ingester 127.0.0.1:0
  . ./artstore-data/artstore.env && artstore upload README.md

To see an alert:
  artstore up --fault admin-500           # healthy first, then the fault begins
  rm artstore-data/fault                  # repairs it
  echo peer-closes > artstore-data/fault  # another one";

/// `artstore up`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct UpArgs {
    /// Admin Module (https).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub(super) admin: String,
    /// Storage Element for temporary files (https, client certificate required).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8010")]
    pub(super) element_edit: String,
    /// Storage Element for permanent files (https, client certificate required).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8011")]
    pub(super) element_rw: String,
    /// Ingester (https).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8020")]
    pub(super) ingester: String,
    /// Operations listener of the Ingester (http): metrics, health, status page.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9020")]
    pub(super) ops: String,
    /// Operations listener of the Admin Module (http).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub(super) admin_ops: String,
    /// Operations listener of the element for temporary files (http).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9010")]
    pub(super) element_edit_ops: String,
    /// Operations listener of the element for permanent files (http).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9011")]
    pub(super) element_rw_ops: String,
    /// Folder for everything on disk.
    #[arg(long, value_name = "DIR", default_value = "./artstore-data")]
    pub(super) data: PathBuf,
    /// Largest file, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 40)]
    pub(super) max_file_bytes: u64,
    /// Most bytes that each element holds; the file system's room if absent.
    #[arg(long, value_name = "BYTES")]
    pub(super) element_capacity_bytes: Option<u64>,
    /// Longest silence of a client inside a body, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) read_timeout: u64,
    /// Least level that is logged.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub(super) log_level: String,
    /// How log lines look; text on a terminal and json elsewhere if absent.
    #[arg(long, env = "LOG_FORMAT", value_enum)]
    pub(super) log_format: Option<logging::Format>,
    /// Receiver of spans by OTLP over HTTP (http://127.0.0.1:4318 is usual); nothing is exported if absent.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = base_url)]
    pub(super) otlp_endpoint: Option<String>,
    /// Share of the traces beginning here that is sampled.
    #[arg(long, value_name = "RATIO", env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, value_parser = ratio)]
    pub(super) sample_ratio: f64,

    /// Upload a small file again and again, so that there is something to see; 2 a second unless told otherwise, 0 is none.
    #[arg(
        long,
        value_name = "UPLOADS_PER_SECOND",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEMO_RATE,
        value_parser = rate,
        help_heading = DEMONSTRATION
    )]
    pub(super) demo_traffic: Option<f64>,
    /// Break something, with demo traffic, once everything is healthy. The file DIR/fault then holds the name of the present
    /// fault: writing another name into it begins that one, removing it repairs.
    #[arg(long, value_name = "NAME", value_enum, help_heading = DEMONSTRATION)]
    pub(super) fault: Option<Fault>,
    /// How long tokens live; 20 with --fault, so that they are exchanged while one watches, else 1800.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = DEMONSTRATION)]
    pub(super) token_lifetime: Option<u64>,
    /// Second element for temporary files, which takes uploads while a fault is at the first (https); with --fault only.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8012", help_heading = DEMONSTRATION)]
    pub(super) element_spare: String,
    /// Its operations listener (http); with --fault only.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9012", help_heading = DEMONSTRATION)]
    pub(super) element_spare_ops: String,
}

const DEMONSTRATION: &str = "Demonstration";

impl UpArgs {
    /// Uploads a second of the demo traffic; 0 for none.
    pub(super) fn demo_rate(&self) -> f64 {
        let by_fault = self.fault.and_then(|_| DEMO_RATE.parse().ok());
        self.demo_traffic.or(by_fault).unwrap_or_default()
    }

    /// What is done with traces: spans are seen soon after they ended.
    pub(super) fn traces(&self) -> TracePlan {
        TracePlan {
            endpoint: self.otlp_endpoint.clone(),
            service_name: None,
            sample_ratio: self.sample_ratio,
            queue: 2048,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
        }
    }

    /// How long tokens live.
    pub(super) fn token_lifetime(&self) -> Duration {
        let usual = if self.fault.is_some() { FAULT_TOKEN_LIFETIME } else { TOKEN_LIFETIME };
        Duration::from_secs(self.token_lifetime.unwrap_or(usual))
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("from 0 to 1".to_owned()) }
}

fn base_url(text: &str) -> Result<String, String> {
    if is_base_url(text) { Ok(text.to_owned()) } else { Err("must be a URL of scheme, host and port alone".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1_000.0).contains(&rate) { Ok(rate) } else { Err("from 0 to 1000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        up: UpArgs,
    }

    fn parse(arguments: &[&str]) -> UpArgs {
        Command::try_parse_from([&["up"], arguments].concat()).unwrap().up
    }

    fn refused(arguments: &[&str]) -> String {
        Command::try_parse_from([&["up"], arguments].concat()).unwrap_err().to_string()
    }

    #[test]
    fn there_is_no_demonstration_unless_asked_for() {
        let plain = parse(&[]);
        assert_eq!((plain.demo_rate(), plain.fault, plain.token_lifetime().as_secs()), (0.0, None, 1_800));
        let traffic = parse(&["--demo-traffic", "--data", "x"]);
        assert_eq!((traffic.demo_rate(), traffic.token_lifetime().as_secs()), (2.0, 1_800));
        assert_eq!(parse(&["--demo-traffic=0.5"]).demo_rate(), 0.5);
    }

    #[test]
    fn a_fault_brings_traffic_and_short_tokens_along() {
        let fault = parse(&["--fault", "admin-500"]);
        assert_eq!((fault.demo_rate(), fault.token_lifetime().as_secs()), (2.0, 20));
        let told = parse(&["--fault", "none", "--demo-traffic=0", "--token-lifetime", "7"]);
        assert_eq!((told.demo_rate(), told.token_lifetime().as_secs()), (0.0, 7));
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        for rate in ["-1", "1001", "NaN", "inf"] {
            assert!(refused(&[&format!("--demo-traffic={rate}")]).contains("from 0 to 1000"), "{rate}");
        }
        assert!(refused(&["--demo-traffic=x"]).contains("not a number"));
        assert!(refused(&["--token-lifetime", "0"]).contains("0 is not in 1..=86400"));
        let unknown = refused(&["--fault", "admin-501"]);
        for fault in Fault::all() {
            assert!(unknown.contains(fault.name()), "{unknown}");
        }
    }
}
