//! How `object_store` reaches the network: over our own pooled client.

use artstore_http::{BoxError, Client, ClientError, ClientErrorKind, ResponseBody};
use artstore_metrics::Clock;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// Hands our client to `object_store`.
#[derive(Debug)]
pub(super) struct Connector<C: Clock>(pub(super) Client<C>);

impl<C: Clock> HttpConnector for Connector<C> {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service<C: Clock>(Client<C>);

impl<C: Clock> HttpService for Service<C> {
    // The signature is what `async_trait` makes of `async fn call(&self, request)`.
    fn call<'service, 'call>(&'service self, request: HttpRequest) -> BoxFuture<'call, Result<HttpResponse, HttpError>>
    where
        'service: 'call,
        Self: 'call,
    {
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        Box::pin(async move {
            let response = self.0.send(request).await.map_err(failed)?;
            Ok(response.map(|body| HttpResponseBody::new(Shareable(Mutex::new(body)))))
        })
    }
}

/// What `object_store` may do about an error of our client: it retries what did not reach the server, and of what may have, the
/// idempotent.
fn failed(error: ClientError) -> HttpError {
    let kind = match error.kind() {
        ClientErrorKind::Dns | ClientErrorKind::Connect | ClientErrorKind::Tls(_) | ClientErrorKind::PoolExhausted => {
            HttpErrorKind::Connect
        }
        ClientErrorKind::Timeout => HttpErrorKind::Timeout,
        ClientErrorKind::Transport => HttpErrorKind::Interrupted,
        ClientErrorKind::InvalidRequest | ClientErrorKind::RequestBody => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}

/// A body that is `Sync` because only its exclusive owner ever reaches it.
struct Shareable(Mutex<ResponseBody>);

impl Body for Shareable {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let body = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let polled = Pin::new(body).poll_frame(cx);
        polled.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error.into()))
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may be retried depends on it.
    #[test]
    fn each_error_of_the_client_has_its_kind() {
        let cases = [
            (ClientErrorKind::Dns, HttpErrorKind::Connect),
            (ClientErrorKind::Connect, HttpErrorKind::Connect),
            (ClientErrorKind::PoolExhausted, HttpErrorKind::Connect),
            (ClientErrorKind::Timeout, HttpErrorKind::Timeout),
            (ClientErrorKind::Transport, HttpErrorKind::Interrupted),
            (ClientErrorKind::InvalidRequest, HttpErrorKind::Unknown),
            (ClientErrorKind::RequestBody, HttpErrorKind::Unknown),
        ];
        for (ours, theirs) in cases {
            assert_eq!(failed(ClientError::new(ours.clone(), false, "x")).kind(), theirs, "{ours:?}");
        }
    }
}
