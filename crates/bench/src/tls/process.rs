//! A server process with its children, and the processor time that they have taken.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(10);

/// A server; it ends with this.
pub struct Server {
    child: Child,
    /// Our own end when it closes.
    _stdin: Option<ChildStdin>,
    pub port: u16,
    ticks_per_second: f64,
}

impl Server {
    /// Starts a server that prints its port.
    pub fn that_tells(command: &mut Command) -> Result<Self, Box<dyn Error>> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { port: line.trim().parse()?, _stdin: stdin, child, ticks_per_second: ticks_per_second()? })
    }

    /// Starts a server that listens on this port, and waits until it does.
    pub fn on(port: u16, command: &mut Command) -> Result<Self, Box<dyn Error>> {
        let child = command.stdin(Stdio::null()).spawn()?;
        let mut server = Self { child, _stdin: None, port, ticks_per_second: ticks_per_second()? };
        #[expect(clippy::disallowed_methods, reason = "a limit for another process")]
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended with {status}").into());
            }
            if start.elapsed() > START {
                return Err("the server does not listen".into());
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// Seconds of processor time, user's and system's, of the process and its children so far.
    pub fn cpu_seconds(&self) -> Result<f64, Box<dyn Error>> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let mut ticks = ticks(&id.to_string())?;
        for child in children.split_whitespace() {
            ticks += self::ticks(child)?;
        }
        Ok(ticks / self.ticks_per_second)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that nginx ends its workers; without `kill` there is nothing better to do than the last resort.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}

/// A port that is free now.
pub fn free_port() -> Result<u16, Box<dyn Error>> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Fields 14 and 15 of `/proc/PID/stat`, of which the second may contain spaces.
fn ticks(id: &str) -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").ok_or("no process name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |number: usize| fields.get(number - 3).ok_or("a short line");
    Ok(field(14)?.parse::<f64>()? + field(15)?.parse::<f64>()?)
}

fn ticks_per_second() -> Result<f64, Box<dyn Error>> {
    let output = Command::new("getconf").arg("CLK_TCK").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
