//! Every limit of the serving floor, with its reason, and what must hold between them.
//!
//! They are constants, not flags: none depends on the fleet. The two structs carry them to the code
//! that applies them, so that a test can use short ones.

use std::time::Duration;

/// Connections open at once. The callers are a few schedulers and API servers with at most a few
/// dozen connections each; a TLS connection costs about 100 KiB. Further ones wait in the kernel's
/// backlog until one closes.
pub const CONNECTIONS_MAX: usize = 1024;

/// How long a TLS handshake may take. It is two round trips; five seconds forgive a lost packet or
/// two and a busy node.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a new connection may wait with its first request. Our callers connect because they have
/// one in hand. This also ends half an HTTP/1.1 header and an HTTP/2 preface that never comes.
pub const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long our callers keep a connection they do not use: `IdleConnTimeout` of Kubernetes'
/// transports.
pub const CALLER_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How long a connection may stay without a request after its first one. The caller must be the
/// one to hang up, or its next request races with our closing; hence above its 90 seconds. An
/// unfinished header on a used connection is held to this too.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long an idle connection that we asked to close may take to do so: a request that crossed
/// our asking is still answered.
pub const CLOSE_TIMEOUT: Duration = REQUEST_TIMEOUT;

/// How long to wait before accepting again when the system refuses us a socket (out of file
/// descriptors, out of memory): long enough not to spin, short enough that nobody notices.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Request line and headers. Those of a kube-scheduler or an API server are below 1 KiB.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// The read and write buffer of an HTTP/1.1 connection.
pub const HTTP1_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Requests at once on one HTTP/2 connection: a whole burst of the API server's or a load test's,
/// and yet one connection cannot fill [`REQUESTS_IN_FLIGHT_MAX`].
pub const HTTP2_STREAMS_MAX: u32 = 128;

/// How often an HTTP/2 connection is pinged, to notice a caller whose machine vanished. Kubernetes'
/// transports ping us after the same time.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long the answer to a ping may take.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(15);

/// The body of `/filter` and `/prioritize`, which get the same one: 5,000 nodes of a real kubelet
/// with managedFields are 67 MB.
pub const SCHEDULER_BODY_BYTES_MAX: usize = 80 * MIB;

/// The body of every other request: an AdmissionReview holds an object of at most 3 MiB twice.
pub const BODY_BYTES_MAX: usize = 8 * MIB;

/// All request bodies in memory together. It is spent as bytes arrive, so that announcing a large
/// body costs nobody anything.
pub const BODIES_BYTES_MAX: usize = 512 * MIB;

/// The first bytes of each body, which are not counted: callers with large ones cannot keep those
/// with small ones out. On every connection at once they take 256 MiB.
pub const UNCOUNTED_BYTES: usize = 256 * 1024;

/// Requests read and answered at once. An answer takes well below a millisecond with node names
/// and some 50 ms with 5,000 whole nodes, so more than this is a caller gone wild.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// A whole request: reading its body and answering. kube-scheduler gives up after 5 seconds by
/// default (2 in the shipped configuration), the API server after our webhook's 1 to 2.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the rest of a body that nobody wants is read and thrown away after an early answer, so
/// that a caller in the middle of sending sees the answer and not a broken pipe.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(3);

/// How long requests in flight may take once we were asked to stop. Kubernetes kills the process
/// 30 seconds after SIGTERM.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

const MIB: usize = 1024 * 1024;

const _: () = {
    assert!(IDLE_TIMEOUT.as_secs() > CALLER_IDLE_TIMEOUT.as_secs(), "the caller hangs up first");
    assert!(
        FIRST_REQUEST_TIMEOUT.as_secs() < IDLE_TIMEOUT.as_secs(),
        "a connection is trusted only after its first request"
    );
    assert!(
        HTTP2_PING_INTERVAL.as_secs() + HTTP2_PING_TIMEOUT.as_secs() < IDLE_TIMEOUT.as_secs(),
        "a vanished caller is noticed before the idle timeout would"
    );
    assert!(
        REQUEST_TIMEOUT.as_secs() + LINGER_TIMEOUT.as_secs() <= DRAIN_TIMEOUT.as_secs(),
        "whatever is in flight ends within the drain"
    );
    assert!(BODY_BYTES_MAX <= SCHEDULER_BODY_BYTES_MAX, "the scheduler's bodies are the largest");
    assert!(BODIES_BYTES_MAX >= 4 * SCHEDULER_BODY_BYTES_MAX, "a few of the largest bodies fit at once");
    assert!(
        (HTTP2_STREAMS_MAX as usize) < REQUESTS_IN_FLIGHT_MAX && REQUESTS_IN_FLIGHT_MAX <= CONNECTIONS_MAX,
        "no single connection, but all of them, can use up the requests in flight"
    );
    assert!(HTTP1_BUFFER_BYTES_MAX >= HEADER_BYTES_MAX as usize, "a header fits into the buffer");
};

/// What the accept loop grants.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// [`CONNECTIONS_MAX`]
    pub connections_max: usize,
    /// [`HANDSHAKE_TIMEOUT`]
    pub handshake_timeout: Duration,
    /// [`FIRST_REQUEST_TIMEOUT`]
    pub first_request_timeout: Duration,
    /// [`IDLE_TIMEOUT`]
    pub idle_timeout: Duration,
    /// [`DRAIN_TIMEOUT`]
    pub drain_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            first_request_timeout: FIRST_REQUEST_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

/// What requests get, all of them together.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// [`REQUESTS_IN_FLIGHT_MAX`]
    pub in_flight_max: usize,
    /// [`BODIES_BYTES_MAX`]
    pub bodies_bytes_max: usize,
    /// [`UNCOUNTED_BYTES`]
    pub uncounted_bytes: usize,
    /// [`REQUEST_TIMEOUT`]
    pub timeout: Duration,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            in_flight_max: REQUESTS_IN_FLIGHT_MAX,
            bodies_bytes_max: BODIES_BYTES_MAX,
            uncounted_bytes: UNCOUNTED_BYTES,
            timeout: REQUEST_TIMEOUT,
        }
    }
}
