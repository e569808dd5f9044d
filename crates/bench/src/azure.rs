//! Microsoft's credential with a client secret, over a transport that grants at once.

use crate::cases::{Calls, GRANT, polled, served};
use azure_core::credentials::{Secret, TokenCredential as _};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, ClientOptions, HttpClient, Request, StatusCode, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use std::error::Error;
use std::future::Future as _;
use std::hint::black_box;
use std::sync::Arc;
use std::task::Poll;

const SCOPES: [&str; 1] = ["https://storage.azure.com/.default"];

#[derive(Debug)]
struct Granting;

#[async_trait::async_trait]
impl HttpClient for Granting {
    async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), GRANT))
    }
}

/// The credential with a token in its cache.
pub fn calls() -> Result<Calls, Box<dyn Error>> {
    let client_options = ClientOptions { transport: Some(Transport::new(Arc::new(Granting))), ..Default::default() };
    let options = ClientSecretCredentialOptions { client_options };
    let credential = ClientSecretCredential::new("tenant", "bench".into(), Secret::new("secret"), Some(options))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(credential.get_token(&SCOPES, None))?;
    Ok(Box::new(move |calls| {
        served(calls, || matches!(black_box(&polled!(credential.get_token(&SCOPES, None))), Poll::Ready(Ok(_))));
    }))
}
