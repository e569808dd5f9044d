//! Certificates and configurations: the same for our listener, for rustls without us and for nginx.

use artstore_metrics::{Clock as _, Registry, SystemClock};
use artstore_tls::dev::{DevCa, Leaf};
use artstore_tls::{
    Acceptor, AcceptorSettings, ClientAuth, IdentityFiles, ListenerMetrics, Policy, Protocol, TrustFile,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// TLS 1.2 with a resumed session, else a full one of TLS 1.3.
    pub resumed_12: bool,
    /// Whether the client must show a certificate.
    pub mutual: bool,
}

/// A folder with an authority, a server's certificate and a client's, all of them ECDSA P-256.
pub struct Files {
    pub ca: PathBuf,
    pub server: IdentityFiles,
    pub client: IdentityFiles,
}

impl Files {
    /// Makes them in this folder.
    pub fn create(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let now = SystemClock::new().wall();
        let ca = DevCa::open(folder, now)?;
        ca.issue("server", &Leaf::server("server", now))?;
        ca.issue("client", &Leaf::client("client", now))?;
        Ok(Self::at(folder))
    }

    /// Those that are in this folder.
    pub fn at(folder: &Path) -> Self {
        let pair = |name: &str| IdentityFiles {
            cert: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        Self { ca: folder.join("ca.pem"), server: pair("server"), client: pair("client") }
    }

    /// Our acceptor with all metrics on.
    pub fn acceptor(&self, kind: Kind) -> Result<Acceptor, Box<dyn Error>> {
        let mut settings = AcceptorSettings::new(self.server.load()?);
        settings.policy = policy(kind)?;
        if kind.mutual {
            settings.client_auth = ClientAuth::Required(TrustFile(self.ca.clone()).load()?);
        }
        let metrics = ListenerMetrics::new(&Registry::new(), &settings.policy);
        Ok(Acceptor::new(settings, metrics, SystemClock::new())?)
    }

    /// The same configuration of rustls, without us.
    pub fn bare(&self, kind: Kind) -> Result<tokio_rustls::TlsAcceptor, Box<dyn Error>> {
        let provider = provider(kind, default_provider());
        let verifier = if kind.mutual {
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider)).build()?
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(kind))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(&self.server)?, PrivateKeyDer::from_pem_file(&self.server.key)?)?;
        Ok(Arc::new(config).into())
    }

    /// The client of all measurements: X25519, one suite, and one session at most.
    pub fn client(&self, kind: Kind) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
        let x25519 = CryptoProvider { kx_groups: vec![kx_group::X25519], ..default_provider() };
        let builder = ClientConfig::builder_with_provider(provider(kind, x25519))
            .with_protocol_versions(versions(kind))?
            .with_root_certificates(self.roots()?);
        let mut config = if kind.mutual {
            builder.with_client_auth_cert(chain(&self.client)?, PrivateKeyDer::from_pem_file(&self.client.key)?)?
        } else {
            builder.with_no_client_auth()
        };
        config.resumption = if kind.resumed_12 { Resumption::in_memory_sessions(1) } else { Resumption::disabled() };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca)?)?;
        Ok(roots)
    }
}

/// The name by which the server is called.
pub fn server_name() -> Result<ServerName<'static>, Box<dyn Error>> {
    Ok(ServerName::try_from("localhost")?)
}

/// The one version and suite of our side.
pub fn policy(kind: Kind) -> Result<Policy, Box<dyn Error>> {
    let (minimum, suite) = if kind.resumed_12 {
        (Protocol::Tls12, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")
    } else {
        (Protocol::Tls13, "TLS_AES_256_GCM_SHA384")
    };
    Ok(Policy::new(minimum, Some(&[suite.to_owned()]))?)
}

/// The same of rustls.
pub fn suite(kind: Kind) -> SupportedCipherSuite {
    if kind.resumed_12 {
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
    } else {
        cipher_suite::TLS13_AES_256_GCM_SHA384
    }
}

fn versions(kind: Kind) -> &'static [&'static SupportedProtocolVersion] {
    const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
    const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];
    if kind.resumed_12 { TLS12 } else { TLS13 }
}

fn provider(kind: Kind, provider: CryptoProvider) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: vec![suite(kind)], ..provider })
}

fn chain(files: &IdentityFiles) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error>> {
    Ok(CertificateDer::pem_file_iter(&files.cert)?.collect::<Result<_, _>>()?)
}
