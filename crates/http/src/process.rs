//! The `process_*` families, read from `/proc` when scraped.

use crate::metrics;
use artstore_metrics::{Family, Registry};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Registers the `process_*` families in the registry of a module. Where `/proc` cannot be read they have no sample.
pub fn register(registry: &Registry) {
    register_from(registry, Path::new("/proc"));
}

/// How one number is read; `None` if it cannot be.
type Read = fn(&Process) -> Option<f64>;

fn register_from(registry: &Registry, root: &Path) {
    let process = Arc::new(Process::new(root));
    let families: [(&'static Family, Read); 7] = [
        (&metrics::PROCESS_CPU, Process::cpu_seconds),
        (&metrics::PROCESS_RESIDENT, |process| process.status_bytes("VmRSS:")),
        (&metrics::PROCESS_VIRTUAL, |process| process.status_bytes("VmSize:")),
        (&metrics::PROCESS_OPEN_FDS, Process::open_fds),
        (&metrics::PROCESS_MAX_FDS, Process::max_fds),
        (&metrics::PROCESS_THREADS, |process| process.stat_field(STAT_THREADS)),
        (&metrics::PROCESS_START, Process::start_time),
    ];
    for (family, read) in families {
        let process = Arc::clone(&process);
        registry.computed(family, move |samples| {
            if let Some(number) = read(&process) {
                samples.float(&[], number);
            }
        });
    }
}

/// Fields of `/proc/self/stat`, counted from the state, which follows the command's name (proc_pid_stat(5), less 3).
const STAT_USER_TICKS: usize = 11;
const STAT_KERNEL_TICKS: usize = 12;
const STAT_THREADS: usize = 17;
const STAT_START_TICKS: usize = 19;

/// The entry of the auxiliary vector that says how many ticks a second has (getauxval(3)).
const AT_CLKTCK: u64 = 17;
/// What Linux uses where the vector cannot be read.
const USUAL_TICKS: f64 = 100.0;

struct Process {
    root: PathBuf,
    ticks_per_second: f64,
}

impl Process {
    fn new(root: &Path) -> Self {
        let auxiliary = std::fs::read(root.join("self/auxv")).unwrap_or_default();
        Self { root: root.to_owned(), ticks_per_second: ticks_per_second(&auxiliary).unwrap_or(USUAL_TICKS) }
    }

    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(file)).ok()
    }

    fn stat_field(&self, index: usize) -> Option<f64> {
        // The command's name is in parentheses and may itself hold spaces and parentheses.
        self.read("self/stat")?.rsplit_once(')')?.1.split_whitespace().nth(index)?.parse().ok()
    }

    fn cpu_seconds(&self) -> Option<f64> {
        Some((self.stat_field(STAT_USER_TICKS)? + self.stat_field(STAT_KERNEL_TICKS)?) / self.ticks_per_second)
    }

    fn start_time(&self) -> Option<f64> {
        let stat = self.read("stat")?;
        let boot: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(boot + self.stat_field(STAT_START_TICKS)? / self.ticks_per_second)
    }

    /// A line of `/proc/self/status` whose number is in KiB.
    fn status_bytes(&self, key: &str) -> Option<f64> {
        let status = self.read("self/status")?;
        let kib: f64 =
            status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024.0)
    }

    fn open_fds(&self) -> Option<f64> {
        let open = std::fs::read_dir(self.root.join("self/fd")).ok()?.count();
        // Reading the directory holds one open itself.
        u32::try_from(open.saturating_sub(1)).ok().map(f64::from)
    }

    fn max_fds(&self) -> Option<f64> {
        let limits = self.read("self/limits")?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let soft = line.split_whitespace().next()?;
        if soft == "unlimited" { Some(f64::INFINITY) } else { soft.parse().ok() }
    }
}

/// Looks up `AT_CLKTCK` in an auxiliary vector of 64-bit pairs.
#[expect(clippy::cast_precision_loss, reason = "ticks per second are a small number")]
fn ticks_per_second(auxiliary: &[u8]) -> Option<f64> {
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
    let pairs = auxiliary.chunks_exact(16).filter_map(|pair| Some((word(&pair[..8])?, word(&pair[8..])?)));
    pairs.into_iter().find(|(key, value)| *key == AT_CLKTCK && *value > 0).map(|(_, value)| value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_sensible_numbers() {
        let registry = Registry::new();
        register(&registry);
        let wall = artstore_metrics::Clock::wall(&artstore_metrics::SystemClock::new()).as_secs_f64();
        let start = registry.sum_of("process_start_time_seconds", &[]);
        assert!(start > wall - 86_400.0 && start <= wall + 2.0, "{start} {wall}");
        assert!(registry.sum_of("process_resident_memory_bytes", &[]) > 1_000_000.0);
        assert!(
            registry.sum_of("process_virtual_memory_bytes", &[])
                > registry.sum_of("process_resident_memory_bytes", &[])
        );
        assert!(registry.sum_of("process_open_fds", &[]) >= 3.0);
        assert!(registry.sum_of("process_max_fds", &[]) >= registry.sum_of("process_open_fds", &[]));
        assert!(registry.sum_of("process_threads", &[]) >= 1.0);
    }

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("self/fd")).unwrap();
        let write = |name: &str, content: &[u8]| std::fs::write(root.path().join(name), content).unwrap();
        let auxiliary = [6_u64, 4096, AT_CLKTCK, 250, 0, 0].map(u64::to_ne_bytes).concat();
        write("self/auxv", &auxiliary);
        write("self/stat", b"7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 500 250 0 0 20 0 42 0 1000 9 9\n");
        write("self/status", b"Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t  1024 kB\n");
        write("self/limits", b"Limit  Soft  Hard\nMax open files            1024   4096   files\n");
        write("stat", b"cpu 1 2 3\nbtime 1700000000\n");
        let registry = Registry::new();
        register_from(&registry, root.path());
        for (name, expected) in [
            ("process_cpu_seconds_total", 3.0),
            ("process_virtual_memory_bytes", 2_097_152.0),
            ("process_resident_memory_bytes", 1_048_576.0),
            ("process_max_fds", 1024.0),
            ("process_threads", 42.0),
            ("process_start_time_seconds", 1_700_000_004.0),
            ("process_open_fds", 0.0),
        ] {
            assert_eq!(registry.sum_of(name, &[]), expected, "{name}");
        }
        write("self/limits", b"Max open files unlimited unlimited files\n");
        assert_eq!(registry.sum_of("process_max_fds", &[]), f64::INFINITY);
    }

    #[test]
    fn without_proc_there_are_no_samples() {
        let registry = Registry::new();
        register_from(&registry, Path::new("/nonexistent"));
        let text = registry.encode(artstore_metrics::Format::Text);
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
        assert_eq!(ticks_per_second(&[]), None);
    }
}
