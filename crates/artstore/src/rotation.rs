//! Takes changed certificates and trust in use: the listener at once, the client together with the token that is bound to it.

use crate::assemble::TlsPlan;
use artstore_auth::{AuthService, ClientAuthentication, http_transport};
use artstore_http::Client;
use artstore_tls::{Acceptor, Change, Identity, SetupError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is asked whether the token of a new identity is there.
const LOOK: Duration = Duration::from_secs(1);

/// How long a request may take from getting its token to being sent.
const TOKEN_IN_HAND: Duration = Duration::from_secs(10);

/// What a module uses its certificates for.
#[derive(Debug)]
pub(crate) struct Rotation {
    plan: TlsPlan,
    acceptor: Acceptor,
    client: Option<Client>,
    auth: Option<AuthService>,
    /// The module shows the Admin Module who it is by its certificate.
    account_is_certificate: bool,
}

impl Rotation {
    /// Of a module that listens.
    pub(crate) const fn new(plan: TlsPlan, acceptor: Acceptor) -> Self {
        Self { plan, acceptor, client: None, auth: None, account_is_certificate: false }
    }

    /// It connects, too, by this client.
    pub(crate) fn client(&mut self, client: Client) {
        self.client = Some(client);
    }

    /// It has tokens, too, which this service gets over that client.
    pub(crate) fn auth(&mut self, service: AuthService, authentication: &ClientAuthentication) {
        self.auth = Some(service);
        self.account_is_certificate = matches!(authentication, ClientAuthentication::TlsClientAuth);
    }

    /// Takes a change in use; says how many connections were cut by it.
    ///
    /// # Errors
    /// What TLS refuses.
    pub(crate) fn take(&self, change: Change, shutdown: &CancellationToken) -> Result<usize, SetupError> {
        match change {
            Change::ServerIdentity(identity) => self.acceptor.set_identity(identity),
            Change::ClientIdentity(identity) => self.change_client(identity, shutdown),
            Change::Trust(trust) => {
                let mut cut = self.acceptor.set_client_auth(self.plan.client_auth(trust.clone()))?;
                let connector = self.client.as_ref().and_then(Client::connector);
                if let Some(connector) = connector.filter(|_| !self.plan.danger_accept_any_server) {
                    cut += connector.set_trust(trust)?;
                }
                return Ok(cut);
            }
        }
        Ok(0)
    }

    fn change_client(&self, identity: Identity, shutdown: &CancellationToken) {
        let Some(client) = &self.client else { return };
        let bound = |auth: &&AuthService| {
            self.account_is_certificate || auth.cached_token().is_some_and(|token| token.is_bound())
        };
        match self.auth.as_ref().filter(bound) {
            None => client.set_identity(Some(identity)),
            Some(auth) => {
                let change = change_with_token(client.clone(), auth.clone(), identity);
                let shutdown = shutdown.clone();
                tokio::spawn(async move { shutdown.run_until_cancelled(change).await });
            }
        }
    }
}

/// A token that is bound to a certificate and the connections that show it change together: until there is a token over the new
/// ones, the old serve.
async fn change_with_token(client: Client, auth: AuthService, identity: Identity) {
    let (number, next) = client.add_identity(Some(identity.clone()));
    tracing::info!(
        identity = number,
        "the token is bound to the certificate: one that is bound to the new one is fetched"
    );
    // A failure is in the log and in the metrics, and the service goes on trying in the background.
    let _ = auth.change_identity(http_transport(next)).await;
    while auth.cached_token().is_none_or(|token| token.identity() < number) {
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!(identity = number, "the new certificate is in use with its token");
    tokio::time::sleep(TOKEN_IN_HAND).await;
    // If it is not the latest any more, its successor does this.
    if auth.cached_token().is_some_and(|token| token.identity() == number) {
        client.retire_identities_before(number, Some(identity));
    }
}
