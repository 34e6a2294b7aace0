//! What stands between any request and a handler: limits, timeouts, and one shape for refusals.
//!
//! Invariant: a handler is called only with its whole body in memory; and all bodies together, answers
//! that are not yet read included, never take more than `BODIES_BYTES_MAX` and a small one for each
//! connection.

use std::any::Any;
use std::future::pending;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tracing::{debug, error};

use super::limits::{LINGER_TIMEOUT, RequestLimits};

/// The size from which a body's buffer grows. Smaller ones are allocated once.
const BUFFER_BYTES_MIN: usize = 64 * 1024;

/// Larger bodies are handled on a thread of their own: this much takes about a millisecond, which is
/// what other requests on the same worker can wait.
pub(super) const INLINE_BYTES_MAX: usize = 1024 * 1024;

/// A one-line JSON error, `{"error":"…"}`: the only shape in which this server refuses.
pub(super) fn refusal(status: StatusCode, reason: &str) -> Response {
    let mut body = serde_json::json!({ "error": reason }).to_string();
    body.push('\n');
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// What `handle` makes of a body. A panic in it is the caller's, wherever it runs.
pub(super) async fn handle_body<T: Send + 'static>(body: Bytes, handle: impl FnOnce(&[u8]) -> T + Send + 'static) -> T {
    if body.len() <= INLINE_BYTES_MAX {
        return handle(&body);
    }
    match spawn_blocking(move || handle(&body)).await {
        Ok(made) => made,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Cancelled: the runtime is going, and takes whoever waits here with it.
            Err(_) => pending().await,
        },
    }
}

/// The limits that all doors share.
#[derive(Clone, Debug)]
pub struct Guardrails {
    in_flight: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    limits: RequestLimits,
}

impl Guardrails {
    /// Nothing in flight yet.
    pub fn new(limits: RequestLimits) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(limits.in_flight_max)),
            bodies: Arc::new(Semaphore::new(limits.bodies_bytes_max)),
            limits,
        }
    }

    /// Puts the limits around the routes of `door`, whose bodies may have `body_bytes_max` bytes.
    /// Handlers take `Bytes`.
    ///
    /// Too many requests at once, or too many bytes: 503, without Retry-After, because an API
    /// server that is told to retry does so up to ten times within the user's request. Too slow,
    /// reading the body included: 408. Too large: 413.
    pub fn with_limits(&self, door: Router, body_bytes_max: usize) -> Router {
        let body_limits = BodyLimits {
            bodies: Arc::clone(&self.bodies),
            body_bytes_max,
            uncounted_bytes: self.limits.uncounted_bytes,
        };
        door.layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(refuse))
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&self.in_flight)))
                .layer(TimeoutLayer::new(self.limits.timeout))
                .layer(from_fn_with_state(body_limits, buffer_body))
                // The body is in memory by then, and was measured.
                .layer(DefaultBodyLimit::disable()),
        )
    }
}

/// What all routes of a listener fall back on: 404, 405, an answer when a handler panics, and a
/// patient ear for callers that are refused in the middle of a body.
pub fn with_fallbacks(app: Router) -> Router {
    app.fallback(|| async { refusal(StatusCode::NOT_FOUND, "no such path") })
        .method_not_allowed_fallback(|| async {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "wrong method: see the Allow header")
        })
        .layer(from_fn(catch_panics))
        .layer(map_request(async |request: Request| request.map(|body| Body::new(Lingering(Some(body))))))
}

/// What the layers that can fail turn into.
async fn refuse(error: BoxError) -> Response {
    if error.is::<Elapsed>() {
        refusal(StatusCode::REQUEST_TIMEOUT, "the request took too long")
    } else {
        // The only other layer that fails is load shedding.
        refusal(StatusCode::SERVICE_UNAVAILABLE, "too many requests in flight")
    }
}

async fn catch_panics(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let panic = panic_text(panic.as_ref());
            error!(path, panic, "a handler panicked");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "not a text"
    }
}

/// What bodies may take: all together, and one.
#[derive(Clone)]
struct BodyLimits {
    bodies: Arc<Semaphore>,
    body_bytes_max: usize,
    uncounted_bytes: usize,
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("too many bytes of bodies in flight")]
    NoRoom,
    #[error("the body broke off")]
    Broken(#[source] axum::Error),
}

impl BodyError {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads the whole body, then calls the handler with it.
async fn buffer_body(State(limits): State<BodyLimits>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match limits.read(&parts.headers, body).await {
        Ok((bytes, room)) => {
            let path = parts.uri.path().to_owned();
            let answer = next.run(Request::from_parts(parts, Body::from(bytes))).await;
            drop(room);
            limits.hold(answer).await.unwrap_or_else(|error| refused(&path, &error))
        }
        Err(error) => refused(parts.uri.path(), &error),
    }
}

fn refused(path: &str, error: &BodyError) -> Response {
    debug!(path, %error, "request refused");
    refusal(error.status(), &error.to_string())
}

/// An answer's bytes, and the room that they take until the caller has read them.
struct Held {
    bytes: Bytes,
    /// Given back when dropped.
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl BodyLimits {
    /// The body, and the room that it takes, to be given back when the body is dropped.
    async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), BodyError> {
        let limit = self.body_bytes_max;
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLarge { limit });
        }
        let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0).min(BUFFER_BYTES_MIN));
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
                continue;
            };
            if data.len() > limit - bytes.len() {
                return Err(BodyError::TooLarge { limit });
            }
            let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = (bytes.len() + data.len()).saturating_sub(self.uncounted_bytes).saturating_sub(held);
            if let Some(more) = self.room_for(more)? {
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.freeze(), room))
    }

    /// Counts an answer until its caller has read it, or hung up.
    async fn hold(&self, answer: Response) -> Result<Response, BodyError> {
        let (parts, body) = answer.into_parts();
        // A handler's answer is in memory already: this waits for nothing.
        let bytes = body.collect().await.map_err(BodyError::Broken)?.to_bytes();
        let room = self.room_for(bytes.len().saturating_sub(self.uncounted_bytes))?;
        let held = Bytes::from_owner(Held { bytes, _room: room });
        Ok(Response::from_parts(parts, Body::from(held)))
    }

    /// Never waits: two half-read bodies that wait for each other's room would both time out.
    fn room_for(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, BodyError> {
        if bytes == 0 {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).map_err(|_| BodyError::NoRoom)?;
        Arc::clone(&self.bodies).try_acquire_many_owned(bytes).map(Some).map_err(|_| BodyError::NoRoom)
    }
}

/// A body that, dropped half-read, is read on in the background for a moment and thrown away.
///
/// When a body is dropped before its end, hyper closes an HTTP/1.1 connection, and a caller that is
/// still sending gets a reset, which destroys the answer on its way. An HTTP/2 stream is reset right
/// behind the answer, in accordance with the protocol, and yet curl then reports the reset.
struct Lingering(Option<Body>);

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let rest = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(mut rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(timeout(LINGER_TIMEOUT, async move { while let Some(Ok(_)) = rest.frame().await {} }));
        }
    }
}

#[cfg(test)]
mod tests;
