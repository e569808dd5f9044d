//! The lease of an upload: who may change it. It is exclusive and expires, so that another Ingester can continue.

use artstore_metrics::Monotonic;
use std::time::Duration;
use uuid::Uuid;

/// The lease of one upload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease {
    /// Who holds it; nobody after a start of the element.
    holder: Option<Uuid>,
    /// Until when others must leave it. `None` if it was released.
    until: Option<Monotonic>,
}

/// Somebody else holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// For so long, unless it is renewed.
    pub(crate) remaining: Duration,
}

impl Lease {
    /// A new holder takes the lease, if nobody has it.
    pub(crate) fn take(&mut self, now: Monotonic, duration: Duration) -> Result<String, Held> {
        if let Some(until) = self.until.filter(|until| *until > now) {
            return Err(Held { remaining: until.since(now) });
        }
        let holder = Uuid::new_v4();
        *self = Self { holder: Some(holder), until: Some(now.plus(duration)) };
        Ok(holder.simple().to_string())
    }

    /// Whether this is the holder's; if so, it is renewed. One that expired or was released is, until another takes it.
    pub(crate) fn renew(&mut self, lease: &str, now: Monotonic, duration: Duration) -> bool {
        let holds = self.holder.is_some_and(|holder| Uuid::try_parse(lease) == Ok(holder));
        if holds {
            self.until = Some(now.plus(duration));
        }
        holds
    }

    /// The holder is still at work.
    pub(crate) fn extend(&mut self, now: Monotonic, duration: Duration) {
        self.until = Some(now.plus(duration));
    }

    /// Others may take it from now on.
    pub(crate) fn release(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(secs))
    }

    #[test]
    fn it_is_exclusive_until_it_expires() {
        let mut lease = Lease::default();
        let first = lease.take(at(0), LEASE).unwrap();
        assert_eq!(lease.take(at(59), LEASE), Err(Held { remaining: Duration::from_secs(1) }));
        assert!(lease.renew(&first, at(59), LEASE));
        assert_eq!(lease.take(at(60), LEASE), Err(Held { remaining: Duration::from_secs(59) }));
        let second = lease.take(at(119), LEASE).unwrap();
        assert!(!lease.renew(&first, at(119), LEASE));
        assert!(lease.renew(&second, at(119), LEASE));
    }

    #[test]
    fn an_expired_or_released_lease_is_its_holders_until_another_takes_it() {
        let mut lease = Lease::default();
        let first = lease.take(at(0), LEASE).unwrap();
        assert!(lease.renew(&first, at(1_000), LEASE));
        lease.release();
        assert!(lease.renew(&first, at(1_001), LEASE));
        assert!(lease.take(at(1_002), LEASE).is_err());
        lease.release();
        assert_ne!(lease.take(at(1_003), LEASE).unwrap(), first);
    }

    #[test]
    fn nobody_holds_it_at_first() {
        let mut lease = Lease::default();
        assert!(!lease.renew("", at(0), LEASE));
        assert!(!lease.renew(&Uuid::nil().to_string(), at(0), LEASE));
    }
}
