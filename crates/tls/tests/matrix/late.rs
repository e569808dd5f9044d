//! A TLS 1.3 server refuses our certificate after our handshake, and the bare stream learns of it in every trial: reading, or
//! writing more than the sockets hold. With `ARTSTORE_TLS_SOAK=1` there are 1,000 trials of each in place of 100.

use crate::cell::{Cell, Fault, Peer, Role, Version, Whose};
use crate::certificates::Scene;
use crate::fixture::{client, name, server, tcp_pair};
use crate::plan::Plan;
use artstore_tls::{ClientStream, FoundBy, TlsError};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const BODY_BYTES: usize = 4 << 20;

/// What is wrong with our certificate, and what the server's alert is counted as.
const FAULTS: [(Fault, &str); 7] = [
    (Fault::NonePresented, "cert_missing"),
    (Fault::Untrusted, "cert_untrusted"),
    (Fault::Expired, "cert_expired"),
    (Fault::NotYetValid, "cert_expired"),
    (Fault::WrongPurpose, "cert_wrong_purpose"),
    (Fault::Revoked, "cert_revoked"),
    (Fault::StaleList, "cert_untrusted"),
];

fn trials() -> usize {
    if std::env::var_os("ARTSTORE_TLS_SOAK").is_some() { 1_000 } else { 100 }
}

async fn every_trial_is_one_failure(act: impl AsyncFn(&mut ClientStream) -> io::Error) {
    let scene = Scene::new();
    let each = trials().div_ceil(FAULTS.len());
    for (fault, kind) in FAULTS {
        let cell = Cell { fault, whose: Whose::Ours, we: Role::Client, version: Version::V13, peer: Peer::Rustls };
        let plan = Plan::of(&scene, &cell);
        let (us, them) = (client(plan.client.connector()), server(plan.server.acceptor()));
        for trial in 1..=each {
            let (near, far) = tcp_pair().await;
            let ours = async {
                let mut stream = us.connector.connect(name("localhost"), near).await.unwrap();
                act(&mut stream).await
            };
            let (error, refused) = tokio::join!(ours, them.acceptor.accept(far));
            refused.unwrap_err();
            let error = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()).unwrap();
            assert_eq!((error.kind().label(), error.found_by()), (kind, FoundBy::Peer), "trial {trial} of {fault}");
        }
        let sum = |family: &str| us.registry.sum_of(family, &[]);
        let failures = us.registry.sum_of("tls_handshake_total", &[("status", "failure"), ("error_type", kind)]);
        assert_eq!((failures, sum("tls_handshake_total")), (each as f64, each as f64), "{fault}");
        assert_eq!(sum("tls_handshake_duration_seconds_count"), 0.0);
        assert_eq!(sum("tls_handshake_unsettled_total"), 0.0);
        assert_eq!(sum("tls_connections_active"), 0.0);
        assert_eq!(them.registry.sum_of("tls_server_handshake_total", &[("status", "failure")]), each as f64);
    }
}

#[tokio::test]
async fn late_refusals_are_found_by_reading() {
    every_trial_is_one_failure(async |stream| stream.read_u8().await.unwrap_err()).await;
}

#[tokio::test]
async fn late_refusals_are_found_by_writing_4_mib() {
    let body = vec![7; BODY_BYTES];
    every_trial_is_one_failure(async |stream| stream.write_all(&body).await.unwrap_err()).await;
}
