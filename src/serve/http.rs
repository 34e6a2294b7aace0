//! The accept loop: from a listening socket to requests for the router.
//!
//! Invariant: no caller keeps a connection without using it. Each is closed when its handshake, its
//! first request or its next one does not come in time, whatever it sends meanwhile.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::counters::{ConnectionCounters, HandshakeFailure, HangUp};
use super::limits::{
    ACCEPT_BACKOFF, CLOSE_TIMEOUT, ConnectionLimits, HEADER_BYTES_MAX, HTTP1_BUFFER_BYTES_MAX, HTTP2_PING_INTERVAL,
    HTTP2_PING_TIMEOUT, HTTP2_STREAMS_MAX,
};

/// Serves `app` on `socket` until `stop`, then lets requests in flight finish and returns.
///
/// With `tls`, HTTP/2 or HTTP/1.1 as the handshake settled it; without, HTTP/1.1 in the clear, for
/// the admin port.
pub async fn serve(
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    app: Router,
    limits: ConnectionLimits,
    counters: ConnectionCounters,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    let listener = Arc::new(Listener {
        tls: tls.map(TlsAcceptor::from),
        app,
        limits,
        counters,
        stop,
        abandon: CancellationToken::new(),
    });
    loop {
        let (stream, peer, slot) = tokio::select! {
            () = listener.stop.cancelled() => break,
            accepted = accept(&socket, &slots, &listener.counters) => accepted,
        };
        let listener = Arc::clone(&listener);
        connections.spawn(async move {
            let _open = listener.counters.accepted();
            listener.admit(stream, peer).await;
            drop(slot);
        });
    }
    drop(socket);
    connections.close();
    if timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        warn!(connections = connections.len(), "requests did not finish in time; closing their connections");
        listener.abandon.cancel();
        connections.wait().await;
    }
}

/// The next connection, and the slot that it takes. Errors are waited out: an accept loop that ends
/// is an outage.
async fn accept(
    socket: &TcpListener,
    slots: &Arc<Semaphore>,
    counters: &ConnectionCounters,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Fails only on a closed semaphore, and nobody closes this one.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    let mut failing = false;
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) => {
                if !failing {
                    warn!(%error, "cannot accept connections; trying again");
                }
                failing = true;
                counters.accept_failed();
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// What the connections of one listener share.
struct Listener {
    tls: Option<TlsAcceptor>,
    app: Router,
    limits: ConnectionLimits,
    counters: ConnectionCounters,
    /// Finish what is in flight.
    stop: CancellationToken,
    /// Finish at once.
    abandon: CancellationToken,
}

impl Listener {
    async fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "connection lost before it was used");
            return;
        }
        let Some(acceptor) = &self.tls else {
            return self.http1(stream, peer).await;
        };
        let shaken = tokio::select! {
            shaken = self.shake_hands(acceptor, stream) => shaken,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, peer).await;
            }
            Ok(stream) => self.http1(stream, peer).await,
            Err((reason, error)) => {
                self.counters.handshake_failed(reason);
                debug!(%peer, ?reason, error, "TLS handshake failed");
            }
        }
    }

    async fn shake_hands(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, (HandshakeFailure, String)> {
        match timeout(self.limits.handshake_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err((HandshakeFailure::from(&error), error.to_string())),
            Err(elapsed) => Err((HandshakeFailure::Timeout, elapsed.to_string())),
        }
    }

    async fn http1<I>(&self, stream: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let traffic = Traffic::new();
        // hyper starts its header timeout when a connection becomes idle, not when a header begins:
        // below 90 s it would hang up on callers between two requests. `unused` does both jobs.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(HEADER_BYTES_MAX as usize)
            .max_buf_size(HTTP1_BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), self.service(&traffic));
        self.drive(connection, &traffic, peer).await;
    }

    async fn http2<I>(&self, stream: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let traffic = Traffic::new();
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), self.service(&traffic));
        self.drive(connection, &traffic, peer).await;
    }

    /// The router, with its requests noted in `traffic`.
    fn service(
        &self,
        traffic: &Traffic,
    ) -> impl HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible, Future: Send + 'static> + use<>
    {
        let app = self.app.clone();
        let traffic = traffic.clone();
        service_fn(move |request: Request<Incoming>| {
            let busy = traffic.begin();
            let answer = app.clone().oneshot(request);
            async move {
                let answer: Result<Response, Infallible> = answer.await;
                drop(busy);
                answer
            }
        })
    }

    /// Runs a connection until the caller closes it, or one of our reasons to do so comes up.
    async fn drive<C>(&self, connection: C, traffic: &Traffic, peer: SocketAddr)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        let mut unused = pin!(unused(traffic.0.subscribe(), &self.limits));
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%peer, %error, "connection broken");
                    }
                    return;
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.abandon.cancelled() => {
                    return self.counters.hung_up(HangUp::Drain);
                }
                reason = unused.as_mut() => {
                    debug!(%peer, ?reason, "closing a connection that is not used");
                    self.counters.hung_up(reason);
                    if reason == HangUp::Idle {
                        connection.as_mut().graceful_shutdown();
                        tokio::select! {
                            _ = timeout(CLOSE_TIMEOUT, connection) => {}
                            () = self.abandon.cancelled() => {}
                        }
                    }
                    return;
                }
            }
        }
    }
}

/// Resolves when the connection should be closed for want of requests.
async fn unused(mut traffic: watch::Receiver<Requests>, limits: &ConnectionLimits) -> HangUp {
    if !begins(&mut traffic, 0, limits.first_request_timeout).await {
        return HangUp::NoRequest;
    }
    loop {
        let idle = traffic.wait_for(|requests| requests.in_flight == 0).await;
        let Ok(begun) = idle.map(|requests| requests.begun) else {
            return HangUp::Idle;
        };
        if !begins(&mut traffic, begun, limits.idle_timeout).await {
            return HangUp::Idle;
        }
    }
}

/// Whether a request after the first `begun` ones begins in time.
async fn begins(traffic: &mut watch::Receiver<Requests>, begun: u64, within: Duration) -> bool {
    let next = traffic.wait_for(|requests| requests.begun > begun);
    matches!(timeout(within, next).await, Ok(Ok(_)))
}

/// The requests of one connection.
#[derive(Clone)]
struct Traffic(Arc<watch::Sender<Requests>>);

#[derive(Clone, Copy, Default)]
struct Requests {
    begun: u64,
    in_flight: u32,
}

/// One request in flight, until dropped.
struct Busy(Traffic);

impl Traffic {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Requests::default())))
    }

    fn begin(&self) -> Busy {
        self.0.send_modify(|requests| {
            requests.begun += 1;
            requests.in_flight += 1;
        });
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| requests.in_flight -= 1);
    }
}

#[cfg(test)]
mod tests;
