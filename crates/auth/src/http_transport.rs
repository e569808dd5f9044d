//! The transport over the pooled client of `artstore-http`.

use crate::{AuthErrorType, BoxError, Transport, TransportError};
use artstore_http::{Client, ClientError, ClientErrorKind};
use artstore_metrics::Clock;
use http_body_util::BodyExt;

/// Sends token requests and key-set fetches over this client and its pool.
#[must_use]
pub fn http_transport<C: Clock>(client: Client<C>) -> Transport {
    Transport::new(tower::service_fn(move |request: http::Request<crate::RequestBody>| {
        let client = client.clone();
        async move {
            let answer = client.send(request.map(artstore_http::body::boxed)).await.map_err(TransportError::from)?;
            Ok(answer.map(|body| body.map_err(|error| BoxError::from(TransportError::from(error))).boxed_unsync()))
        }
    }))
}

impl From<ClientError> for TransportError {
    fn from(error: ClientError) -> Self {
        let kind = match error.kind() {
            ClientErrorKind::Dns => AuthErrorType::Dns,
            ClientErrorKind::Connect => AuthErrorType::Connect,
            ClientErrorKind::Tls(_) => AuthErrorType::Tls,
            ClientErrorKind::Timeout | ClientErrorKind::PoolExhausted => AuthErrorType::Timeout,
            ClientErrorKind::Transport => AuthErrorType::Transport,
            ClientErrorKind::InvalidRequest | ClientErrorKind::RequestBody => AuthErrorType::Internal,
        };
        Self::new(kind, error.request_written(), error.to_string())
    }
}
