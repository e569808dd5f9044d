//! One acquisition: a pass over the instances, ending in a token or in the last exchange's failure, within one limit of time.

use crate::client_auth::Credential;
use crate::exchange::{Exchanged, exchange};
use crate::metrics::{AcquisitionSpan, Trigger, outcome};
use crate::response::Grant;
use crate::service::Inner;
use crate::token::{Moment, usable_until};
use crate::transport::Transport;
use crate::{AuthError, AuthErrorType, VerifyError};
use artstore_metrics::{Clock, UnixTime};
use artstore_trace::Context;
use std::time::Duration;
use tracing::Instrument as _;

/// A token that is not in the cache yet.
pub(crate) struct Acquired {
    pub(crate) grant: Grant,
    /// The place of the instance in the settings.
    pub(crate) instance: usize,
    pub(crate) sent: Moment,
    /// The token's own end, if it was looked at.
    pub(crate) claimed: Option<UnixTime>,
}

/// Gets a token. Dropping the future moves no metric but the cancellation's.
pub(crate) async fn acquire<C: Clock>(
    inner: &Inner<C>,
    transport: &Transport,
    trigger: Trigger,
) -> Result<Acquired, AuthError> {
    let mut span = inner.metrics.acquisition(trigger, inner.settings.tracer.as_ref());
    let (trace, context) = (span.trace(), span.context());
    let passed = async {
        let result = pass(inner, transport, &mut span).instrument(trace).await;
        if let Ok(acquired) = &result {
            let instance = inner.settings.instances[acquired.instance].origin();
            let seconds = acquired.grant.lifetime.as_secs();
            tracing::info!(trigger = trigger.label(), admin_module_url = instance, seconds, "got a token");
        }
        result
    };
    let result = Context::scope_if_some(context, passed).await;
    span.finish(result.as_ref().err().map(AuthError::kind));
    result
}

async fn pass<C: Clock>(
    inner: &Inner<C>,
    transport: &Transport,
    span: &mut AcquisitionSpan<C>,
) -> Result<Acquired, AuthError> {
    let end = inner.clock.monotonic().plus(inner.settings.acquisition_limit);
    let mut secret = match inner.secret().await {
        Ok(secret) => secret,
        Err(error) => {
            log_failure(&error);
            span.exchange(inner.places[0], None, Some(error.kind()));
            return Err(error);
        }
    };
    let order = inner.lock().order(inner.clock.monotonic());
    let mut secret_renewed = false;
    let (mut step, mut last) = (0, None);
    while let Some(index) = order.get(step).copied() {
        let left = end.since(inner.clock.monotonic());
        if left.is_zero() {
            break;
        }
        let error = match attempt(inner, transport, index, &secret, left, span).await {
            Ok(acquired) => return Ok(acquired),
            Err(error) => error,
        };
        if error.kind() == AuthErrorType::InvalidClient && !secret_renewed {
            secret_renewed = true;
            if let Some(renewed) = renewed_secret(inner, &secret).await {
                // The secret was rotated: the same instance is asked once more, with the new one.
                (secret, last) = (renewed, Some(error));
                continue;
            }
        }
        let verdict = error.kind().is_verdict();
        last = Some(error);
        if verdict {
            break;
        }
        step += 1;
    }
    Err(last.unwrap_or_else(|| AuthError::new(AuthErrorType::Internal, "no instance was asked")))
}

/// The secret or key as its file has it now, if it is another one.
async fn renewed_secret<C: Clock>(inner: &Inner<C>, refused: &Credential) -> Option<Credential> {
    inner.lock().secret = None;
    let renewed = inner.secret().await.ok()?;
    renewed.differs_from(refused).then_some(renewed)
}

/// One exchange and the checks of what it brought.
async fn attempt<C: Clock>(
    inner: &Inner<C>,
    transport: &Transport,
    index: usize,
    secret: &Credential,
    left: Duration,
    span: &mut AcquisitionSpan<C>,
) -> Result<Acquired, AuthError> {
    let instance = &inner.settings.instances[index];
    let limit = inner.settings.timeout.min(left);
    let trace =
        tracing::info_span!("token_exchange", admin_module_url = instance.origin(), outcome = tracing::field::Empty);
    let exchanged = async {
        let Exchanged { result, duration, sent } =
            exchange(&inner.settings, instance, secret, transport, &inner.clock, limit).await;
        let checked = match result {
            Ok(grant) => {
                check(inner, &grant, sent).await.map(|claimed| Acquired { grant, instance: index, sent, claimed })
            }
            Err(error) => Err(error),
        };
        (checked.map_err(|error| error.at(instance.origin())), duration)
    };
    let (checked, duration) = exchanged.instrument(trace.clone()).await;
    let failed = checked.as_ref().err().map(AuthError::kind);
    let wish = checked.as_ref().err().and_then(AuthError::retry_after).unwrap_or_default();
    let until = inner.clock.monotonic().plus(wish.min(inner.settings.backoff.max_retry_after));
    inner.lock().left_alone[index] = until;
    span.exchange(inner.places[index], duration, failed);
    trace.record("outcome", outcome(failed));
    if let Err(error) = &checked {
        trace.in_scope(|| log_failure(error));
    }
    checked
}

/// Checks the received token, and that it is still usable now that it is here.
async fn check<C: Clock>(inner: &Inner<C>, grant: &Grant, sent: Moment) -> Result<Option<UnixTime>, AuthError> {
    let refused = |error: VerifyError| AuthError::new(error.auth_error_type(), format!("the received token: {error}"));
    let mut claimed = None;
    if let Some(expected) = &inner.settings.expected {
        claimed = Some(expected.check(grant.token(), inner.clock.wall()).map_err(refused)?);
    }
    if let Some(verifier) = &inner.verifier {
        claimed = Some(verifier.verify(grant.token()).await.map_err(refused)?.exp);
    }
    if usable_until(sent, grant.lifetime, claimed).is_reached(Moment::now(&inner.clock)) {
        return Err(match claimed {
            Some(_) => AuthError::new(AuthErrorType::ClockSkew, "the received token is past its end"),
            None => AuthError::new(AuthErrorType::Timeout, "the answer took longer than its token lives"),
        });
    }
    Ok(claimed)
}

fn log_failure(error: &AuthError) {
    let (kind, instance, detail) = (error.kind().label(), error.instance().unwrap_or_default(), error.detail());
    if error.kind().level() == tracing::Level::ERROR {
        tracing::error!(error_type = kind, admin_module_url = instance, "failed to get a token: {detail}");
    } else {
        tracing::warn!(error_type = kind, admin_module_url = instance, "failed to get a token: {detail}");
    }
}
