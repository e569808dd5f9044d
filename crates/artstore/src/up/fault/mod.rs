//! Faults that `artstore up` makes on demand, one at a time: what each breaks, and how it begins and ends.
//!
//! What answers differently while a fault is present stands in layers in front of the modules' routers ([`layers`]); what lies
//! in files is written as an operator's mistake would write it ([`files`]); Admin's clock is wrong ([`clock`]). Layers and files
//! exist only with `--fault`.

mod clock;
mod files;
mod hands;
mod layers;
mod room;
mod switch;
mod tokens;

pub(super) use clock::UpClock;
pub(super) use files::FaultFiles;
pub(super) use hands::Hands;
pub(super) use layers::{before_admin, before_element};
pub(super) use room::Room;
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
    /// Admin takes requests and does not answer: ArtstoreAuthHighErrorRate, ArtstoreAdminModuleLatencySLO
    AdminHung,
    /// One element shows a certificate of an authority that nobody trusts: ArtstoreTlsHandshakeFailures
    #[value(name = "element-foreign-ca")]
    ElementForeignCa,
    /// The modules' client certificate has 5 days left: ArtstoreTlsCertificateExpiryCritical
    #[value(name = "certificate-5-days")]
    Certificate5Days,
    /// The modules' client certificate has 20 days left: ArtstoreTlsCertificateExpiringSoon
    #[value(name = "certificate-20-days")]
    Certificate20Days,
    /// The certificate of one element expires while in use: ArtstoreTlsCertificateExpiryCritical, ArtstoreTlsHandshakeFailures
    CertificateExpired,
    /// The elements close the connection after each answer: ArtstoreTlsLowConnectionReuse
    PeerCloses,
    /// Each element refuses each token once: ArtstoreAuthLowCacheHitRate
    ElementRejectsTokenOnce,
    /// Admin's clock is an hour ahead, so that nobody takes its tokens: ArtstoreAuthHighErrorRate, then ArtstoreUploadFailures
    WrongClock,
    /// A large file leaves one element less than a tenth of its room: ArtstoreStorageNearlyFull
    StorageNearlyFull,
    /// The modules' client certificate is cut in half on disk: ArtstoreTlsReloadFailing
    ReloadFailing,
    /// The revocation list is good for half an hour only: ArtstoreTlsCrlStale
    CrlStale,
    /// Admin's index takes no records of the elements: ArtstoreOutboxLagging
    OutboxLagging,
    /// The elements answer 500 to whatever is to be stored: ArtstoreUploadFailures
    UploadFailures,
    /// The Ingester, alone, is told to come back later for a token: ArtstoreAuthTokenExpiring
    TokenExpiring,
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
            Self::AdminHung => "admin-hung",
            Self::ElementForeignCa => "element-foreign-ca",
            Self::Certificate5Days => "certificate-5-days",
            Self::Certificate20Days => "certificate-20-days",
            Self::CertificateExpired => "certificate-expired",
            Self::PeerCloses => "peer-closes",
            Self::ElementRejectsTokenOnce => "element-rejects-token-once",
            Self::WrongClock => "wrong-clock",
            Self::StorageNearlyFull => "storage-nearly-full",
            Self::ReloadFailing => "reload-failing",
            Self::CrlStale => "crl-stale",
            Self::OutboxLagging => "outbox-lagging",
            Self::UploadFailures => "upload-failures",
            Self::TokenExpiring => "token-expiring",
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
