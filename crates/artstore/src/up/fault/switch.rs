//! Which fault is present: the one that the file names, looked at ten times a second.

use super::{Fault, Hands};
use artstore_metrics::{Clock as _, Monotonic, SystemClock};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The longest text of the file that is read as a name.
const MAX_TEXT: usize = 64;

/// How long all is well before the first fault: whoever waits for the start has time to see it.
const HEALTHY_FIRST: Duration = Duration::from_secs(1);

/// The present fault, for whoever does something else while it lasts. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::up) struct Present {
    fault: watch::Receiver<(Fault, Monotonic)>,
    clock: SystemClock,
}

impl Present {
    /// The fault of this moment.
    pub(in crate::up) fn now(&self) -> Fault {
        self.fault.borrow().0
    }

    /// The fault of this moment, and since when it has been present.
    pub(super) fn with_age(&self) -> (Fault, Duration) {
        let (fault, began) = *self.fault.borrow();
        (fault, self.clock.monotonic().since(began))
    }

    /// Waits until it is another one than this.
    pub(super) async fn until_other_than(&mut self, fault: Fault) {
        // A switch that is gone ends every fault.
        let _ = self.fault.wait_for(|(present, _)| *present != fault).await;
    }
}

/// Begins and ends faults as the file says.
#[derive(Debug)]
pub(in crate::up) struct Switch {
    file: PathBuf,
    present: watch::Sender<(Fault, Monotonic)>,
    clock: SystemClock,
    /// What begins and ends them; none in tests.
    hands: Option<Hands>,
    /// A text that names no fault, and whether the log has it: a file that is written in place may be seen half.
    unknown: Option<(String, bool)>,
}

impl Switch {
    /// Armed, with no fault present.
    pub(in crate::up) fn new(file: PathBuf) -> Self {
        let present = watch::Sender::new((Fault::None, Monotonic::default()));
        Self { file, present, clock: SystemClock::new(), hands: None, unknown: None }
    }

    /// Whoever shows it sees the present fault by it.
    pub(in crate::up) fn present(&self) -> Present {
        Present { fault: self.present.subscribe(), clock: self.clock }
    }

    /// The same with hands that do what a fault begins and ends with.
    #[must_use]
    pub(in crate::up) fn with_hands(mut self, hands: Hands) -> Self {
        self.hands = Some(hands);
        self
    }

    /// Writes the first fault into the file and follows the file until cancelled; then repairs and removes it.
    pub(in crate::up) async fn run(mut self, first: Fault, shutdown: CancellationToken) {
        let written = match first {
            Fault::None => removed(&self.file),
            fault => std::fs::write(&self.file, format!("{}\n", fault.name())),
        };
        if let Err(error) = written {
            tracing::error!(file = %self.file.display(), "the file of the fault cannot be written: {error}");
        }
        if first != Fault::None {
            shutdown.run_until_cancelled(tokio::time::sleep(HEALTHY_FIRST)).await;
        }
        self.change(first).await;
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            if let Some(fault) = self.look() {
                self.change(fault).await;
            }
        }
        self.change(Fault::None).await;
        // What a process that is gone left behind would only mislead.
        let _ = removed(&self.file);
    }

    /// The fault that the file names; none if that cannot be said.
    fn look(&mut self) -> Option<Fault> {
        let text = match read(&self.file) {
            Ok(text) => text,
            Err(error) => format!("({error})"),
        };
        let named = Fault::named(&text);
        self.unknown = match (named, self.unknown.take()) {
            (Some(_), _) => None,
            (None, Some((before, false))) if before == text => {
                let names: Vec<&str> = Fault::all().iter().map(|fault| fault.name()).collect();
                tracing::warn!(file = %self.file.display(), text, "no fault of this name; there are: {}", names.join(", "));
                Some((text, true))
            }
            (None, Some((before, told))) if before == text => Some((before, told)),
            (None, _) => Some((text, false)),
        };
        named
    }

    /// Ends the present fault and begins this one, if it is another.
    async fn change(&mut self, next: Fault) {
        let (last, _) = *self.present.borrow();
        if next == last {
            return;
        }
        if last != Fault::None {
            if let Some(hands) = &mut self.hands {
                hands.end(last).await;
            }
            self.present.send_replace((Fault::None, self.clock.monotonic()));
            tracing::info!(fault = last.name(), "fault ends");
        }
        if next != Fault::None {
            tracing::info!(fault = next.name(), "fault begins");
            if next == Fault::ProcessKilled {
                kill_this_process();
            }
            self.present.send_replace((next, self.clock.monotonic()));
            if let Some(hands) = &mut self.hands {
                hands.begin(next).await;
            }
        }
    }
}

/// The text of the file; empty if there is none.
fn read(file: &Path) -> std::io::Result<String> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(&bytes)).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn removed(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// As the kernel does when memory is out: no destructor, no drain, no last answer.
fn kill_this_process() {
    let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    if let Err(error) = killed {
        tracing::error!("the process cannot kill itself: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(folder: &tempfile::TempDir) -> Switch {
        Switch::new(folder.path().join("fault"))
    }

    #[test]
    fn the_file_says_which_fault_is_present() {
        let folder = tempfile::tempdir().unwrap();
        let mut switch = switch(&folder);
        let file = switch.file.clone();
        assert_eq!(switch.look(), Some(Fault::None), "without a file");
        std::fs::write(&file, "admin-slow\n").unwrap();
        assert_eq!(switch.look(), Some(Fault::AdminSlow));
        std::fs::write(&file, "").unwrap();
        assert_eq!(switch.look(), Some(Fault::None), "an empty one");
        std::fs::write(&file, "x".repeat(1 << 20)).unwrap();
        assert_eq!(switch.look(), None);
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert_eq!(switch.look(), None);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(switch.look(), Some(Fault::None), "removed again");
    }

    /// A name that is being written in place is no mistake; one that stays is one, once.
    #[test]
    fn a_name_that_stays_unknown_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut switch = switch(&folder);
        std::fs::write(&switch.file, "admin-5").unwrap();
        let told = |switch: &mut Switch| (switch.look(), switch.unknown.clone().map(|(_, told)| told));
        assert_eq!(told(&mut switch), (None, Some(false)));
        assert_eq!(told(&mut switch), (None, Some(true)));
        assert_eq!(told(&mut switch), (None, Some(true)));
        std::fs::write(&switch.file, "admin-500").unwrap();
        assert_eq!(told(&mut switch), (Some(Fault::Admin500), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_begins_ends_and_gives_way_to_another_and_its_file_goes_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let switch = switch(&folder);
        let (file, mut present, shutdown) = (switch.file.clone(), switch.present(), CancellationToken::new());
        assert_eq!(present.now(), Fault::None);
        let running = tokio::spawn(switch.run(Fault::Admin500, shutdown.clone()));
        present.fault.wait_for(|(fault, _)| *fault == Fault::Admin500).await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "admin-500\n");
        std::fs::write(&file, "peer-closes").unwrap();
        present.fault.wait_for(|(fault, _)| *fault == Fault::PeerCloses).await.unwrap();
        std::fs::write(&file, "nonsense").unwrap();
        tokio::time::sleep(LOOK * 5).await;
        assert_eq!(present.now(), Fault::PeerCloses, "what names nothing changes nothing");
        std::fs::remove_file(&file).unwrap();
        present.fault.wait_for(|(fault, _)| *fault == Fault::None).await.unwrap();
        std::fs::write(&file, "none").unwrap();
        shutdown.cancel();
        running.await.unwrap();
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn a_file_of_an_earlier_process_begins_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let switch = switch(&folder);
        let (file, present, shutdown) = (switch.file.clone(), switch.present(), CancellationToken::new());
        std::fs::write(&file, "admin-500").unwrap();
        shutdown.cancel();
        switch.run(Fault::None, shutdown).await;
        assert!(!file.exists() && present.now() == Fault::None);
    }
}
