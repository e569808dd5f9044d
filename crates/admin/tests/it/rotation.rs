//! Keys and secrets change under load, over real TLS: clients and verifiers notice nothing.

use crate::house::{House, ask};
use artstore_admin::{AdminSettings, generate_key_file};
use artstore_api::scope::{AUDIENCE_INGESTER, FILES_READ};
use artstore_auth::{
    AdminInstance, Algorithm, AuthMetrics, JwksSource, TokenVerifier, VerifierSettings, http_transport,
};
use artstore_metrics::{Clock as _, Registry, SystemClock};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const CLIENTS: usize = 4;
const ROTATIONS: usize = 3;

/// The secret in use, and how many there were before it.
type Secret = (usize, String);

/// What the clients share.
struct Load {
    house: House,
    stop: AtomicBool,
    /// Which secret each client uses.
    used: [AtomicUsize; CLIENTS],
    /// The headers of all tokens: as many as there were keys.
    headers: Mutex<BTreeSet<String>>,
}

/// Asks for tokens and lets each be checked, until told to stop: how many it asked for, and what was refused.
async fn client(
    at: usize,
    load: Arc<Load>,
    secret: watch::Receiver<Secret>,
    verifier: TokenVerifier,
) -> (usize, Vec<String>) {
    let (client, mut asked, mut refusals) = (load.house.client(), 0, Vec::new());
    while !load.stop.load(Ordering::Relaxed) {
        let (generation, current) = secret.borrow().clone();
        load.used[at].store(generation, Ordering::SeqCst);
        let (status, answer) = ask(&client, &load.house.url, &current).await;
        asked += 1;
        let Some(token) = answer["access_token"].as_str() else {
            refusals.push(format!("{status}: {answer}"));
            continue;
        };
        if let Err(error) = verifier.verify(token).await {
            refusals.push(error.to_string());
        }
        load.headers.lock().unwrap().insert(token.split('.').next().unwrap().to_owned());
    }
    (asked, refusals)
}

/// Waits for what the load brings about.
async fn until(happened: impl Fn() -> bool) {
    while !happened() {
        tokio::task::yield_now().await;
    }
}

fn verifier(house: &House) -> TokenVerifier {
    let (clock, registry) = (SystemClock::new(), Registry::new());
    let instances = vec![AdminInstance::parse(&house.url).unwrap()];
    let metrics = AuthMetrics::new(&registry, &instances, clock);
    let jwks = JwksSource::Remote { instances, transport: http_transport(house.client()) };
    let mut settings = VerifierSettings::new(&house.url, AUDIENCE_INGESTER, jwks);
    // As the times of this test are shorter than those of a real rotation.
    settings.cooldown = Duration::from_millis(1);
    TokenVerifier::new(settings, metrics, clock).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_secrets_rotate_under_load_and_nothing_valid_is_refused() {
    let change = |settings: &mut AdminSettings| {
        settings.key_check_interval = Duration::from_millis(20);
        settings.key_settle = Duration::from_millis(200);
        settings.jwks_max_age = Duration::from_millis(100);
    };
    let house = House::start(change).await;
    let keys = AdminSettings::new(house.dir.path(), &house.url).keys_dir;
    let made = house.admin.bootstrap_account("x", "client", &[FILES_READ], &[AUDIENCE_INGESTER], None).await.unwrap();
    let (secret, current) = watch::channel((0, made.client_secret));
    let verifier = verifier(&house);
    let (stop, used, headers) = (AtomicBool::new(false), Default::default(), Mutex::default());
    let load = Arc::new(Load { house, stop, used, headers });
    let clients: Vec<_> =
        (0..CLIENTS).map(|at| tokio::spawn(client(at, Arc::clone(&load), current.clone(), verifier.clone()))).collect();
    let signed = || load.headers.lock().unwrap().len();
    until(|| signed() == 1).await;
    for rotation in 1..=ROTATIONS {
        let new = load.house.admin.rotate_secret("client").await.unwrap().client_secret;
        generate_key_file(&keys, Algorithm::Rs256, SystemClock::new().wall()).unwrap();
        until(|| signed() == 1 + rotation).await;
        // The secret before goes on being used until everybody has the new one; only then another one may come.
        secret.send((rotation, new)).unwrap();
        until(|| load.used.iter().all(|used| used.load(Ordering::SeqCst) == rotation)).await;
    }
    load.stop.store(true, Ordering::Relaxed);
    let mut tokens = 0;
    for client in clients {
        let (asked, refusals) = client.await.unwrap();
        assert_eq!(refusals, [""; 0]);
        tokens += asked;
    }
    let load = Arc::into_inner(load).unwrap();
    let issued = load.house.sum("admin_token_requests_total", &[("outcome", "issued")]);
    assert_eq!(issued, f64::from(u32::try_from(tokens).unwrap()));
    assert_eq!(load.house.sum("admin_token_requests_total", &[]), issued);
    assert_eq!(load.headers.lock().unwrap().len(), 1 + ROTATIONS);
    load.house.end().await;
}
