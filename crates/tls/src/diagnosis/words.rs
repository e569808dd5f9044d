//! Certificates, lists and moments as sentences have them.

use crate::certificate::CertificateInfo;
use crate::crl::CrlInfo;
use artstore_metrics::UnixTime;
use time::OffsetDateTime;

/// A certificate by subject, fingerprint and validity.
#[must_use]
pub fn described(certificate: &CertificateInfo) -> String {
    format!(
        "{} (SHA-256 {}, valid from {} until {}, issued by {})",
        certificate.subject,
        certificate.fingerprint(),
        moment(certificate.not_before),
        moment(certificate.not_after),
        certificate.issuer
    )
}

/// A revocation list by file, issuer and validity.
pub(super) fn list(list: &CrlInfo) -> String {
    let until = list.next_update.map_or_else(|| "no stated end".to_owned(), moment);
    format!("{} (of {}, from {} until {until})", list.file.display(), list.issuer, moment(list.this_update))
}

/// A moment to the minute, in UTC.
pub(super) fn moment(moment: UnixTime) -> String {
    let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(date) => format!("{} {:02}:{:02} UTC", date.date(), date.hour(), date.minute()),
        Err(_) => format!("second {seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_in_utc() {
        assert_eq!(moment(UnixTime::from_secs(1_800_000_000)), "2027-01-15 08:00 UTC");
        assert_eq!(moment(UnixTime::from_secs(u64::MAX)), "second 9223372036854775807");
    }
}
