//! The exit codes of the command, each with one meaning, so that scripts can tell what went wrong.

use artstore_client::Category;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: all is done.
    Success,
    /// 1: a failure that is none of the others, for instance that the output cannot be written.
    Failure,
    /// 2: the command line, a setting or an address is wrong. Nothing was done.
    Usage,
    /// 3: a file on this side cannot be read or written, or exists already.
    Local,
    /// 4: no way to a server, or the connection broke too often.
    Network,
    /// 5: one side refused the other's certificate.
    Tls,
    /// 6: no token, or one that does not allow this.
    Authentication,
    /// 7: there is no such file.
    NotFound,
    /// 8: the server does not take this request.
    Refused,
    /// 9: the server cannot serve this request now.
    Unavailable,
    /// 10: the bytes are not those that they should be.
    Integrity,
}

/// The table for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  all is done
   1  another failure, for instance that the output cannot be written
   2  the command line, a setting or an address is wrong; nothing was done
   3  a file on this side cannot be read or written, or exists already
   4  no way to a server, or the connection broke too often
   5  TLS: one side refused the other's certificate
   6  no token, or one that does not allow this
   7  there is no such file
   8  the server does not take this request
   9  the server cannot serve this request now (full, busy, or without storage)
  10  the bytes are not those that they should be";

impl Exit {
    /// The code.
    #[must_use]
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Local => 3,
            Self::Network => 4,
            Self::Tls => 5,
            Self::Authentication => 6,
            Self::NotFound => 7,
            Self::Refused => 8,
            Self::Unavailable => 9,
            Self::Integrity => 10,
        }
    }
}

impl From<Category> for Exit {
    fn from(category: Category) -> Self {
        match category {
            Category::Usage => Self::Usage,
            Category::Local => Self::Local,
            Category::Network => Self::Network,
            Category::Tls => Self::Tls,
            Category::Authentication => Self::Authentication,
            Category::NotFound => Self::NotFound,
            Category::Refused => Self::Refused,
            Category::Unavailable => Self::Unavailable,
            Category::Integrity => Self::Integrity,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_table_once() {
        let all = [
            Exit::Success,
            Exit::Failure,
            Exit::Usage,
            Exit::Local,
            Exit::Network,
            Exit::Tls,
            Exit::Authentication,
            Exit::NotFound,
            Exit::Refused,
            Exit::Unavailable,
            Exit::Integrity,
        ];
        let listed: Vec<u8> = EXIT_CODES.lines().skip(1).map(|line| line[..4].trim().parse().unwrap()).collect();
        assert_eq!(all.map(Exit::code).to_vec(), listed);
    }

    #[test]
    fn categories_have_codes_of_their_own() {
        use Category::{Authentication, Integrity, Local, Network, NotFound, Refused, Tls, Unavailable, Usage};
        let codes = [Usage, Local, Network, Tls, Authentication, NotFound, Refused, Unavailable, Integrity]
            .map(|category| Exit::from(category).code());
        assert_eq!(codes, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
