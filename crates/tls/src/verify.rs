//! The verifiers and the certificate resolver around rustls' own: they note what happened.

use crate::acceptor::ClientAuth;
use crate::allowed::AllowedClients;
use crate::crl::Revocation;
use crate::error::{CertificateAnswer, classify_tls_error};
use crate::identity::{SetupError, Trust, Verification};
use crate::metrics::{CertificateMetrics, ListenerMetrics, Verdict};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The verdict that a verifier's answer amounts to.
fn verdict<T>(answer: &Result<T, Error>) -> Verdict {
    match answer {
        Ok(_) => Verdict::Valid,
        Err(error) => classify_tls_error(error, CertificateAnswer::NotRequested).0.into(),
    }
}

/// What the server wanted to know of us, noted while the handshake runs.
#[derive(Debug, Default)]
pub(crate) struct AnswerNote(AtomicU8);

impl AnswerNote {
    pub(crate) fn get(&self) -> CertificateAnswer {
        match self.0.load(Ordering::Acquire) {
            0 => CertificateAnswer::NotRequested,
            1 => CertificateAnswer::Sent,
            _ => CertificateAnswer::NoneSent,
        }
    }

    fn set(&self, sent: bool) {
        self.0.store(if sent { 1 } else { 2 }, Ordering::Release);
    }
}

/// Answers one connection's certificate request, and notes that there was one.
#[derive(Debug)]
pub(crate) struct NotingResolver {
    pub(crate) key: Option<Arc<CertifiedKey>>,
    pub(crate) note: Arc<AnswerNote>,
}

impl ResolvesClientCert for NotingResolver {
    fn resolve(&self, _root_hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fitting = self.key.as_ref().filter(|certified| certified.key.choose_scheme(schemes).is_some());
        self.note.set(fitting.is_some());
        fitting.cloned()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

/// Verifies servers and counts the verdicts.
#[derive(Debug)]
struct CountingServerVerifier {
    inner: Arc<dyn ServerCertVerifier>,
    metrics: CertificateMetrics,
}

/// Verifies nothing but that the server holds the key of the certificate it shows.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

/// How servers are judged under one trust.
#[derive(Debug, Clone)]
pub(crate) struct ServerJudge(Arc<dyn ServerCertVerifier>);

impl ServerJudge {
    /// The judge for this trust, revocation lists included.
    pub(crate) fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, SetupError> {
        let roots = match trust.verification() {
            Verification::Nothing => return Ok(Self(Arc::new(AnyServer(Arc::clone(provider))))),
            Verification::Roots(roots) => Arc::clone(roots),
        };
        let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider));
        let builder = match trust.revocation() {
            Some(revocation) => builder.with_crls(revocation.ders()).enforce_revocation_expiration(),
            None => builder,
        };
        let verifier = builder.build().map_err(|error| SetupError::Configuration(error.to_string()))?;
        Ok(Self(verifier))
    }

    /// The verifier for handshakes: it counts its verdicts, if there are any.
    pub(crate) fn verifier(&self, trust: &Trust, metrics: &CertificateMetrics) -> Arc<dyn ServerCertVerifier> {
        match trust.verification() {
            Verification::Nothing => Arc::clone(&self.0),
            Verification::Roots(_) => {
                Arc::new(CountingServerVerifier { inner: Arc::clone(&self.0), metrics: metrics.clone() })
            }
        }
    }

    /// Whether a server that showed this is to be trusted now. Nothing is counted.
    pub(crate) fn judge(&self, seen: &ServerSeen, now: UnixTime) -> Result<(), Error> {
        let (leaf, intermediates) = seen.chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.0.verify_server_cert(leaf, intermediates, &seen.name, &[], now).map(|_| ())
    }
}

/// What a server showed, and whom we took it for.
#[derive(Debug)]
pub(crate) struct ServerSeen {
    pub(crate) name: ServerName<'static>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// How clients are judged under one trust.
#[derive(Debug, Clone)]
pub(crate) enum ClientJudge {
    /// They are not asked for a certificate.
    NotAsked,
    /// They are.
    Asked {
        verifier: Arc<dyn ClientCertVerifier>,
        /// Which of those with a good certificate are let in, if not all of them.
        allowed: Option<AllowedClients>,
        /// By when there will be newer revocation lists, if there are any.
        next_update: Option<artstore_metrics::UnixTime>,
    },
}

impl ClientJudge {
    /// The judge for these demands, revocation lists included.
    pub(crate) fn new(
        auth: &ClientAuth,
        allowed: Option<&AllowedClients>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, SetupError> {
        let (trust, mandatory) = match (auth, allowed) {
            (ClientAuth::None, Some(_)) => {
                let reason = "a list of allowed clients is useless while clients are not asked for a certificate";
                return Err(SetupError::Configuration(reason.to_owned()));
            }
            (ClientAuth::None, None) => return Ok(Self::NotAsked),
            (ClientAuth::Optional(trust), _) => (trust, false),
            (ClientAuth::Required(trust), _) => (trust, true),
        };
        let roots = match trust.verification() {
            Verification::Roots(roots) => Arc::clone(roots),
            Verification::Nothing => {
                let reason = "a trust that accepts any server cannot verify clients";
                return Err(SetupError::Configuration(reason.to_owned()));
            }
        };
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
        let builder = match trust.revocation() {
            Some(revocation) => builder.with_crls(revocation.ders()).enforce_revocation_expiration(),
            None => builder,
        };
        let verifier = builder.build().map_err(|error| SetupError::Configuration(error.to_string()))?;
        let next_update = trust.revocation().and_then(Revocation::next_update);
        Ok(Self::Asked { verifier, allowed: allowed.cloned(), next_update })
    }

    /// The verifier for handshakes: it counts its verdicts.
    pub(crate) fn verifier(&self, metrics: &ListenerMetrics) -> Arc<dyn ClientCertVerifier> {
        match self {
            Self::NotAsked => WebPkiClientVerifier::no_client_auth(),
            Self::Asked { verifier, allowed, .. } => Arc::new(CountingClientVerifier {
                inner: Arc::clone(verifier),
                allowed: allowed.clone(),
                metrics: metrics.clone(),
            }),
        }
    }

    /// Until when all of its revocation lists count, if it has any.
    pub(crate) const fn lists_count_until(&self) -> Option<artstore_metrics::UnixTime> {
        match self {
            Self::NotAsked => None,
            Self::Asked { next_update, .. } => *next_update,
        }
    }

    /// Whether a client that showed this chain, which is empty if it showed none, may be here now. Nothing is counted.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        match (self, chain.split_first()) {
            (Self::NotAsked, _) => Ok(()),
            (Self::Asked { verifier, .. }, None) if verifier.client_auth_mandatory() => {
                Err(Error::NoCertificatesPresented)
            }
            (Self::Asked { .. }, None) => Ok(()),
            (Self::Asked { verifier, allowed, .. }, Some((leaf, intermediates))) => {
                verifier.verify_client_cert(leaf, intermediates, now)?;
                let_in(allowed.as_ref(), leaf)
            }
        }
    }
}

/// Lets in only those whom the list names, if there is one.
fn let_in(allowed: Option<&AllowedClients>, leaf: &CertificateDer<'_>) -> Result<(), Error> {
    if allowed.is_none_or(|allowed| allowed.rule_for(leaf).is_some()) {
        return Ok(());
    }
    // Outside of a handshake there is nobody to tell.
    let identity = AllowedClients::identity_of(leaf);
    REFUSED_IDENTITY.try_with(|refused| *refused.borrow_mut() = Some(identity)).ok();
    Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
}

impl ServerCertVerifier for CountingServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let answer = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        self.metrics.verdict(verdict(&answer));
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies clients and counts the verdicts.
#[derive(Debug)]
struct CountingClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    allowed: Option<AllowedClients>,
    metrics: ListenerMetrics,
}

impl ClientCertVerifier for CountingClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let answer = self.inner.verify_client_cert(end_entity, intermediates, now);
        let answer = answer.and_then(|verified| let_in(self.allowed.as_ref(), end_entity).map(|()| verified));
        self.metrics.verdict(verdict(&answer));
        if let Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) = answer {
            self.metrics.identity_refused();
        }
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

tokio::task_local! {
    /// Whom the list of allowed clients does not name, if the handshake of this task has failed for it: rustls' error, which
    /// decides the alert, cannot carry it.
    pub(crate) static REFUSED_IDENTITY: RefCell<Option<String>>;
}
