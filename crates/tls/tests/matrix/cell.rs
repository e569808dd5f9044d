//! The cells: which faults, sides, versions and peers there are, and which combinations cannot exist.

use std::fmt;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $name { $($variant),+ }

        impl $name {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            pub(crate) fn parse(word: &str) -> Self {
                Self::ALL.iter().copied().find(|one| one.word() == word).unwrap_or_else(|| panic!("{word}?"))
            }

            pub(crate) const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What goes wrong.
    Fault {
        Expired = "expired",
        NotYetValid = "not yet valid",
        Untrusted = "untrusted",
        Revoked = "revoked",
        NonePresented = "none presented",
        WrongPurpose = "wrong purpose",
        WrongName = "wrong name",
        StaleList = "stale list",
        NotAllowed = "not an allowed client",
        NoCommonVersion = "no common version",
        NoCommonSuite = "no common suite",
        Alpn = "ALPN",
        PlainText = "plain text",
        EndOfStream = "end of stream",
        TimeOut = "time-out",
    }
}

words! {
    /// Whose certificate is at fault; nobody's in faults of another kind.
    Whose { Ours = "ours", Theirs = "theirs", Nobodys = "-" }
}

words! {
    /// What one side is.
    Role { Client = "client", Server = "server" }
}

words! {
    /// The version of the handshake; where there is no common one, the only one that the peer has.
    Version { V10 = "1.0", V11 = "1.1", V12 = "1.2", V13 = "1.3" }
}

words! {
    /// Who the other side is.
    Peer { Rustls = "rustls", OpenSsl = "openssl", Socket = "socket" }
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) fault: Fault,
    pub(crate) whose: Whose,
    pub(crate) we: Role,
    pub(crate) version: Version,
    pub(crate) peer: Peer,
}

impl Fault {
    /// Whether it lies in a certificate.
    const fn is_of_a_certificate(self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::NotYetValid
                | Self::Untrusted
                | Self::Revoked
                | Self::NonePresented
                | Self::WrongPurpose
                | Self::WrongName
                | Self::StaleList
                | Self::NotAllowed
        )
    }

    /// Whether it takes a peer that leaves TLS.
    pub(crate) const fn is_of_the_connection(self) -> bool {
        matches!(self, Self::PlainText | Self::EndOfStream | Self::TimeOut)
    }
}

impl Cell {
    /// The side whose certificate is at fault.
    pub(crate) fn judged(&self) -> Option<Role> {
        let other = if self.we == Role::Client { Role::Server } else { Role::Client };
        match self.whose {
            Whose::Ours => Some(self.we),
            Whose::Theirs => Some(other),
            Whose::Nobodys => None,
        }
    }

    /// Why there is no such thing, if so.
    pub(crate) fn impossible(&self) -> Option<&'static str> {
        match (self.fault, self.judged(), self.version, self.peer) {
            (Fault::WrongName, Some(Role::Client), _, _) => Some("a server expects no name of a client"),
            (Fault::NotAllowed, Some(Role::Server), _, _) => Some("clients have no list of allowed servers"),
            (Fault::NotAllowed, _, _, Peer::OpenSsl) if self.we == Role::Client => {
                Some("openssl's server has no list of allowed clients")
            }
            (Fault::NonePresented, Some(Role::Server), _, _) => {
                Some("every suite that we enable has the server show one")
            }
            (Fault::NoCommonVersion, _, Version::V10 | Version::V11, Peer::Rustls) => {
                Some("rustls has no such version")
            }
            (Fault::PlainText, _, _, Peer::Rustls) => Some("rustls sends nothing but TLS"),
            (Fault::PlainText, _, _, Peer::OpenSsl) if self.we == Role::Client => {
                Some("openssl has no server that answers a hello in plain text")
            }
            _ => None,
        }
    }
}

/// Every cell.
pub(crate) fn universe() -> Vec<Cell> {
    let mut cells = Vec::new();
    for &fault in Fault::ALL {
        let whose = if fault.is_of_a_certificate() { &[Whose::Ours, Whose::Theirs][..] } else { &[Whose::Nobodys] };
        let versions = if fault == Fault::NoCommonVersion { Version::ALL } else { &[Version::V12, Version::V13] };
        let peers = if fault.is_of_the_connection() { Peer::ALL } else { &[Peer::Rustls, Peer::OpenSsl] };
        for &whose in whose {
            for &we in Role::ALL {
                for &peer in peers {
                    cells.extend(versions.iter().map(|&version| Cell { fault, whose, we, version, peer }));
                }
            }
        }
    }
    cells
}
