//! Faults that `artstore up` makes on demand, one at a time: what each breaks, and how it begins and ends.
//!
//! What answers differently while a fault is present stands in layers in front of the modules' routers ([`layers`]). They exist
//! only with `--fault`.

mod layers;
mod switch;

pub(super) use layers::{before_admin, before_element};
pub(super) use switch::{Present, Switch};

use clap::ValueEnum;

/// The file in the data folder that holds the name of the present fault.
pub(super) const FILE: &str = "fault";

/// What is broken. Each line of the help says what, and which alert shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Nothing yet: DIR/fault says what and when
    None,
    /// The process kills itself with SIGKILL, and nothing starts it again: ArtstoreAuthServiceDown
    ProcessKilled,
    /// The token endpoint answers 500 at once: ArtstoreAuthHighErrorRate
    #[value(name = "admin-500")]
    Admin500,
    /// The token endpoint answers 200 after a second: ArtstoreAdminModuleLatencySLO
    AdminSlow,
    /// The elements close the connection after each answer: ArtstoreTlsLowConnectionReuse
    PeerCloses,
}

impl Fault {
    /// All of them.
    pub(super) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Its name on the command line and in the file.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ProcessKilled => "process-killed",
            Self::Admin500 => "admin-500",
            Self::AdminSlow => "admin-slow",
            Self::PeerCloses => "peer-closes",
        }
    }

    /// The fault that the text of the file names; an empty one names [`Fault::None`].
    fn named(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Self::None),
            name => Self::all().iter().copied().find(|fault| fault.name() == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_and_the_command_line_know_the_same_names() {
        for fault in Fault::all() {
            assert_eq!(fault.to_possible_value().unwrap().get_name(), fault.name());
            assert_eq!(Fault::named(&format!("{}\n", fault.name())), Some(*fault));
        }
        assert_eq!((Fault::named(""), Fault::named(" \n")), (Some(Fault::None), Some(Fault::None)));
        assert_eq!((Fault::named("admin-501"), Fault::named("admin-5")), (None, None));
    }
}
