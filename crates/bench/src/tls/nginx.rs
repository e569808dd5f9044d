//! Full TLS 1.3 handshakes beside nginx: the same certificates and client, in alternation within one run.

use super::load::Load;
use super::material::{Files, Kind};
use super::process::{Server, free_port};
use crate::program;
use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How to compare.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many rounds; in each, all servers take their turn.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Seconds of one server's turn.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Worker threads of ours, and worker processes of nginx.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// One server and what its turns showed.
struct Contender {
    name: &'static str,
    server: Server,
    per_second: Vec<f64>,
    per_cpu_second: Vec<f64>,
    /// Processor seconds for each second: near the number of workers when the server is what limits the rate.
    busy: Vec<f64>,
}

/// Prints one table without and one with client certificates.
pub fn run(me: &Path, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let nginx =
        program("nginx").or_else(|| Some("/usr/sbin/nginx".into()).filter(|path: &std::path::PathBuf| path.is_file()));
    let nginx = nginx.ok_or("nginx is not installed: apt-get install nginx")?;
    let version = Command::new(&nginx).arg("-v").output()?.stderr;
    println!("{}", String::from_utf8_lossy(&version).trim());
    for mutual in [false, true] {
        let folder = tempfile::tempdir()?;
        let files = Files::create(folder.path())?;
        let kind = Kind { resumed_12: false, mutual };
        let load = Load::new(&files, kind)?;
        let mut contenders = [
            contender("ours", ours(me, folder.path(), "ours", arguments.workers, mutual)?),
            contender("nginx", start_nginx(&nginx, folder.path(), &files, arguments.workers, mutual)?),
            contender("rustls alone", ours(me, folder.path(), "bare", arguments.workers, mutual)?),
        ];
        for contender in &mut contenders {
            // Its caches; not in the table.
            contender.turn(&load, Duration::from_millis(300))?;
            contender.forget();
        }
        for round in 0..arguments.rounds {
            // Forwards, backwards: what changes slowly favours nobody.
            let order: Vec<usize> = if round % 2 == 0 { (0..3).collect() } else { (0..3).rev().collect() };
            for place in order {
                contenders[place].turn(&load, Duration::from_secs_f64(arguments.seconds))?;
            }
        }
        print(&contenders, mutual);
    }
    Ok(())
}

impl Contender {
    fn turn(&mut self, load: &Load, time: Duration) -> Result<(), Box<dyn Error>> {
        let before = self.server.cpu_seconds()?;
        let made = load.run(self.server.port, time).map_err(|error| format!("{}: {error}", self.name))?;
        let cpu = self.server.cpu_seconds()? - before;
        self.per_second.push(f64::from(made.handshakes) / made.seconds);
        self.per_cpu_second.push(f64::from(made.handshakes) / cpu);
        self.busy.push(cpu / made.seconds);
        Ok(())
    }

    fn forget(&mut self) {
        self.per_second.clear();
        self.per_cpu_second.clear();
        self.busy.clear();
    }
}

fn contender(name: &'static str, server: Server) -> Contender {
    Contender { name, server, per_second: Vec::new(), per_cpu_second: Vec::new(), busy: Vec::new() }
}

fn print(contenders: &[Contender; 3], mutual: bool) {
    let [_, nginx, _] = contenders;
    println!(
        "full TLS 1.3 handshakes, {}: medians; ratios round by round",
        if mutual { "mutual" } else { "server only" }
    );
    println!(
        "{:<14}{:>10}{:>16}{:>8}{:>14}{:>22}{:>16}",
        "", "a second", "a CPU second", "busy", "to nginx, s", "to nginx, CPU s", "quartiles"
    );
    for contender in contenders {
        let wall = ratios(&contender.per_second, &nginx.per_second);
        let cpu = ratios(&contender.per_cpu_second, &nginx.per_cpu_second);
        println!(
            "{:<14}{:>10.0}{:>16.0}{:>8.2}{:>14.2}{:>22.2}{:>8.2}{:>8.2}",
            contender.name,
            quantile(&contender.per_second, 0.5),
            quantile(&contender.per_cpu_second, 0.5),
            quantile(&contender.busy, 0.5),
            quantile(&wall, 0.5),
            quantile(&cpu, 0.5),
            quantile(&cpu, 0.25),
            quantile(&cpu, 0.75),
        );
    }
}

fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| this / that).collect()
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a few rounds"
    )]
    let place = (sorted.len() as f64 * part) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn ours(me: &Path, folder: &Path, engine: &str, workers: usize, mutual: bool) -> Result<Server, Box<dyn Error>> {
    let mut command = Command::new(me);
    command.args(["tls-server", engine]).arg(folder).arg(workers.to_string());
    if mutual {
        command.arg("--mutual");
    }
    Server::that_tells(&mut command)
}

fn start_nginx(
    nginx: &Path,
    folder: &Path,
    files: &Files,
    workers: usize,
    mutual: bool,
) -> Result<Server, Box<dyn Error>> {
    let port = free_port()?;
    let config = folder.join("nginx.conf");
    std::fs::write(&config, configuration(folder, files, workers, mutual, port)?)?;
    Server::on(port, Command::new(nginx).arg("-p").arg(folder).arg("-c").arg(&config).args(["-e", "stderr"]))
}

/// Loopback, no logs, TLS as our side has it: version, group, and tickets as they are by default.
fn configuration(
    folder: &Path,
    files: &Files,
    workers: usize,
    mutual: bool,
    port: u16,
) -> Result<String, Box<dyn Error>> {
    let folder = folder.display();
    let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
    let user = if is_root { "user root;" } else { "" };
    let clients = if mutual {
        format!("ssl_verify_client on; ssl_verify_depth 1; ssl_client_certificate {};", files.ca.display())
    } else {
        String::new()
    };
    Ok(format!(
        "{user} daemon off; worker_processes {workers}; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_certificate {}; ssl_certificate_key {};
    ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; {clients}
    return 204;
  }}
}}
",
        files.server.cert.display(),
        files.server.key.display()
    ))
}
