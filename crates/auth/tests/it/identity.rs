//! A change of identity: the new token first, over the new identity, then both at once.

use crate::support::{Issuer, Rig, Step, number, pass};
use artstore_auth::{AccessToken, AuthError, AuthErrorType};
use std::time::Duration;

/// Number and identity of the cached token.
async fn cached(rig: &Rig) -> Result<(u64, u64), AuthErrorType> {
    described(rig.service.access_token().await)
}

fn described(token: Result<AccessToken, AuthError>) -> Result<(u64, u64), AuthErrorType> {
    token.map(|token| (number(&token), token.identity())).map_err(|error| error.kind())
}

fn refused() -> Step {
    Step::Answer(401, vec![], r#"{"error": "invalid_client"}"#.to_owned())
}

#[tokio::test(start_paused = true)]
async fn token_and_identity_change_together_and_the_old_one_serves_until_then() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    assert_eq!(cached(&rig).await, Ok((1, 0)));
    pass(Duration::from_secs(60)).await;
    let new = Issuer::new([Step::Grant(1800).late(500)], Step::Grant(1800));
    let service = rig.service.clone();
    let transport = new.transport();
    let changing = tokio::spawn(async move { described(service.change_identity(transport).await) });
    pass(Duration::from_millis(400)).await;
    assert_eq!((new.requests(), rig.issuer.requests()), (1, 1));
    assert_eq!(cached(&rig).await, Ok((1, 0)));
    pass(Duration::from_millis(101)).await;
    assert_eq!(changing.await.unwrap(), Ok((1, 1)));
    assert_eq!(cached(&rig).await, Ok((1, 1)));
    assert_eq!(rig.sum("auth_token_refresh_total", &[("status", "success"), ("trigger", "manual")]), 1);
    // From here on everything goes over the new one.
    pass(Duration::from_secs(1500)).await;
    assert_eq!(cached(&rig).await, Ok((2, 1)));
    rig.service.invalidate(3);
    assert_eq!(cached(&rig).await, Ok((3, 1)));
    assert_eq!((new.requests(), rig.issuer.requests()), (3, 1));
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_token_gets_its_first_over_the_new_identity() {
    let rig = Rig::new(Issuer::new([], Step::Panic));
    let new = Issuer::new([], Step::Grant(1800));
    assert_eq!(described(rig.service.change_identity(new.transport()).await), Ok((1, 1)));
    assert_eq!(cached(&rig).await, Ok((1, 1)));
    assert_eq!(rig.issuer.requests(), 0);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_ends_over_the_old_identity_and_the_new_one_follows() {
    let rig = Rig::new(Issuer::new([Step::Grant(1800).late(300)], Step::Panic));
    let first = tokio::spawn({
        let service = rig.service.clone();
        async move { described(service.access_token().await) }
    });
    pass(Duration::from_millis(100)).await;
    let new = Issuer::new([], Step::Grant(1800));
    assert_eq!(described(rig.service.change_identity(new.transport()).await), Ok((1, 1)));
    assert_eq!(first.await.unwrap(), Ok((1, 0)));
    assert_eq!((rig.issuer.requests(), new.requests()), (1, 1));
    rig.assert_identities();
}

/// The call is gone before its fetch begins; the background goes on with the change.
#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_the_change_under_way() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    assert_eq!(cached(&rig).await, Ok((1, 0)));
    let new = Issuer::new([], Step::Grant(1800));
    let call = rig.service.change_identity(new.transport());
    assert_eq!(futures_util::FutureExt::now_or_never(call).map(described), None);
    pass(Duration::from_secs(2)).await;
    assert_eq!(cached(&rig).await, Ok((1, 1)));
    assert_eq!((rig.issuer.requests(), new.requests()), (1, 1));
}

/// The old identity keeps the service alive through three renewals while the new one is refused, and gives way once it is not.
#[tokio::test(start_paused = true)]
async fn an_identity_that_is_refused_costs_no_caller_a_token() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    assert_eq!(cached(&rig).await, Ok((1, 0)));
    let new = Issuer::new([], refused());
    assert_eq!(described(rig.service.change_identity(new.transport()).await), Err(AuthErrorType::InvalidClient));
    for _ in 0..5400 {
        pass(Duration::from_secs(1)).await;
        assert_eq!(cached(&rig).await.map(|(_, identity)| identity), Ok(0));
    }
    // Each renewal is due 300 to 360 seconds before the end, and one failure of the new identity may come before it.
    assert!((4..=5).contains(&rig.issuer.requests()), "{}", rig.issuer.requests());
    let tries = new.requests();
    assert!((5400 / 31..=5400 / 2).contains(&tries), "{tries}");
    new.then(Step::Grant(1800));
    pass(Duration::from_secs(31)).await;
    assert_eq!(cached(&rig).await, Ok((1, 1)));
    assert_eq!(new.requests(), tries + 1);
    assert_eq!(rig.errors(), [("invalid_client", tries as u64)]);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_later_identity_replaces_one_that_has_no_token_yet() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    assert_eq!(cached(&rig).await, Ok((1, 0)));
    let (second, third) = (Issuer::new([], refused()), Issuer::new([], Step::Grant(1800)));
    assert_eq!(described(rig.service.change_identity(second.transport()).await), Err(AuthErrorType::InvalidClient));
    let pause = rig.service.change_identity(third.transport()).await;
    assert_eq!(described(pause), Err(AuthErrorType::InvalidClient), "the pause after the failure holds for all");
    pass(Duration::from_secs(2)).await;
    assert_eq!(cached(&rig).await, Ok((1, 2)));
    pass(Duration::from_secs(1500)).await;
    assert_eq!(cached(&rig).await, Ok((2, 2)));
    assert_eq!((rig.issuer.requests(), second.requests(), third.requests()), (1, 1, 2));
}
