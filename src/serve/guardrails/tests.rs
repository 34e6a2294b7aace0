use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::routing::{get, post};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::super::limits::{BODY_BYTES_MAX, ConnectionLimits, RequestLimits, SCHEDULER_BODY_BYTES_MAX};
use super::super::testing::{H1, H2, TestServer, soon, until, until_closed};
use super::{BodyError, BodyLimits, Guardrails, INLINE_BYTES_MAX, handle_body, with_fallbacks};

const MIB: usize = 1024 * 1024;

/// Holds handlers until a test lets them go, and tells how many wait.
#[derive(Clone)]
struct Gate {
    waiting: Arc<AtomicUsize>,
    passes: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { waiting: Arc::default(), passes: Arc::new(Semaphore::new(0)) }
    }

    async fn pass(self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.passes.acquire().await.unwrap().forget();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    async fn reached_by(&self, callers: usize) {
        until("handlers to be reached", || self.waiting.load(Ordering::SeqCst) == callers).await;
    }
}

/// Both doors, as the program has them.
async fn start(limits: RequestLimits, gate: &Gate) -> TestServer {
    let rails = Guardrails::new(limits);
    let length = |body: Bytes| async move { body.len().to_string() };
    let gate = gate.clone();
    let extender = Router::new().route("/filter", post(length));
    let admission = Router::new()
        .route("/mutate", post(length))
        .route(
            "/held",
            post(|_: Bytes| async {
                gate.pass().await;
                "held"
            }),
        )
        .route("/panic", get(async || -> &'static str { panic!("a bug") }));
    let app = rails.with_limits(extender, SCHEDULER_BODY_BYTES_MAX).merge(rails.with_limits(admission, BODY_BYTES_MAX));
    TestServer::start(with_fallbacks(app), ConnectionLimits::default()).await
}

async fn start_default() -> TestServer {
    start(RequestLimits::default(), &Gate::new()).await
}

async fn assert_refused(answer: Response<Incoming>, status: StatusCode, reason: &str) {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(head.status, status);
    assert_eq!(body, format!("{{\"error\":\"{reason}\"}}\n"));
    assert_eq!(head.headers["content-type"], "application/json");
    assert_eq!(head.headers["content-length"], body.len().to_string());
    assert!(!head.headers.contains_key("transfer-encoding"));
    assert!(!head.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn each_door_has_its_own_body_limit() {
    let server = start_default().await;
    for alpn in [H1, H2] {
        for (path, bytes) in [("/mutate", BODY_BYTES_MAX), ("/filter", 9 * MIB)] {
            let mut client = server.client(alpn).await;
            let answer = client.post(path, vec![b'x'; bytes]).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, bytes.to_string());
        }
        let mut client = server.client(alpn).await;
        let answer = client.post("/mutate", vec![b'x'; 9 * MIB]).await.unwrap();
        let reason = "the body is larger than 8388608 bytes";
        assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, reason).await;
    }
}

#[tokio::test]
async fn too_large_for_filter_is_refused_and_only_that() {
    let server = start_default().await;
    let mut client = server.client(H2).await;
    let body = vec![b'x'; 100_000_000];
    let answer = client.post("/filter", body.clone()).await.unwrap();
    let reason = "the body is larger than 83886080 bytes";
    assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, reason).await;
    let answer = client.post("/filter", "fine").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);

    // On HTTP/1.1, a caller that sends everything before it listens.
    let mut stream = server.tls(H1).await;
    let header = "POST /filter HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100000000\r\n\r\n";
    stream.write_all(header.as_bytes()).await.unwrap();
    soon("the body to be sent", stream.write_all(&body)).await.unwrap();
    let said = until_closed(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
    assert!(said.contains(reason), "{said}");
}

#[tokio::test]
async fn an_endless_body_is_refused() {
    let server = start_default().await;
    let (mut reader, mut writer) = tokio::io::split(server.tls(H1).await);
    let sending = tokio::spawn(async move {
        let header = "POST /mutate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut sent = writer.write_all(header.as_bytes()).await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
        while sent.is_ok() {
            sent = writer.write_all(chunk.as_bytes()).await;
        }
    });
    let mut said = vec![0; 13];
    soon("the refusal", reader.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, b"HTTP/1.1 413 ");
    soon("the server to stop listening", sending).await.unwrap();

    let endless = futures::stream::repeat_with(|| Ok::<_, Infallible>(vec![b'x'; 0x1_0000]));
    let mut client = server.client(H2).await;
    let answer = client.post("/mutate", Body::from_stream(endless)).await;
    assert_eq!(answer.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let answer = client.post("/mutate", "fine").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// Not a byte more than the limit is asked for or kept, whatever is announced.
#[tokio::test]
async fn reading_stops_at_the_limit() {
    const CHUNK: usize = 1000;
    for (limit, room, chunks, too_large) in [
        (10 * CHUNK, 100 * CHUNK, 11, true),
        (10 * CHUNK + 1, 100 * CHUNK, 11, true),
        (100 * CHUNK, 10 * CHUNK, 11, false),
    ] {
        let bodies = Arc::new(Semaphore::new(room));
        let limits = BodyLimits { bodies: Arc::clone(&bodies), body_bytes_max: limit, uncounted_bytes: 0 };
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let endless = Body::from_stream(futures::stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(vec![b'x'; CHUNK])
        }));
        let error = limits.read(&HeaderMap::new(), endless).await.unwrap_err();
        assert_eq!(matches!(error, BodyError::TooLarge { .. }), too_large);
        assert_eq!(asked.load(Ordering::SeqCst), chunks);
        assert_eq!(bodies.available_permits(), room);
    }
}

/// A caller that does not read its answer keeps the room that it takes, and no more than that.
#[tokio::test]
async fn an_answer_counts_until_it_is_read() {
    let bodies = Arc::new(Semaphore::new(1000));
    let limits = BodyLimits { bodies: Arc::clone(&bodies), body_bytes_max: 10, uncounted_bytes: 100 };
    let answer = |bytes: usize| limits.hold(Response::new(Body::from(vec![b'x'; bytes])));
    let unread = answer(700).await.unwrap();
    assert_eq!((bodies.available_permits(), unread.body().size_hint().exact()), (400, Some(700)));
    assert!(matches!(answer(501).await.unwrap_err(), BodyError::NoRoom));
    let small = answer(100).await.unwrap();
    assert_eq!(bodies.available_permits(), 400);
    let read = unread.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((read.len(), bodies.available_permits()), (700, 400));
    drop((read, small));
    assert_eq!(bodies.available_permits(), 1000);
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let limits = BodyLimits { bodies: Arc::new(Semaphore::new(100)), body_bytes_max: 10, uncounted_bytes: 0 };
    let body = Body::from_stream(futures::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, Infallible>>> {
        panic!("read")
    }));
    let mut headers = HeaderMap::new();
    headers.insert("content-length", 11.into());
    let error = limits.read(&headers, body).await.unwrap_err();
    assert!(matches!(error, BodyError::TooLarge { limit: 10 }));
}

#[tokio::test]
async fn bodies_in_flight_share_their_room() {
    let gate = Gate::new();
    let limits = RequestLimits { bodies_bytes_max: 3 * MIB, ..RequestLimits::default() };
    let server = start(limits, &gate).await;
    let mut first = server.client(H2).await;
    let request = first.request("POST", "/held", Body::from(vec![b'x'; 2 * MIB]));
    let holding = tokio::spawn(async move { first.send(request).await });
    gate.reached_by(1).await;

    let mut second = server.client(H2).await;
    let answer = second.post("/mutate", vec![b'x'; 2 * MIB]).await.unwrap();
    let reason = "too many bytes of bodies in flight";
    assert_refused(answer, StatusCode::SERVICE_UNAVAILABLE, reason).await;
    let answer = second.post("/mutate", vec![b'x'; MIB]).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);

    gate.passes.add_permits(1);
    assert_eq!(holding.await.unwrap().unwrap().status(), StatusCode::OK);
    let answer = second.post("/mutate", vec![b'x'; 2 * MIB]).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn above_the_cap_requests_are_shed_and_the_next_is_fine() {
    for alpn in [H1, H2] {
        let gate = Gate::new();
        let limits = RequestLimits { in_flight_max: 2, ..RequestLimits::default() };
        let server = start(limits, &gate).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut client = server.client(alpn).await;
            held.push(tokio::spawn(async move { client.post("/held", "").await }));
        }
        gate.reached_by(2).await;

        // The other door: the cap is one for all of them.
        let mut client = server.client(alpn).await;
        let answer = client.post("/filter", "body").await.unwrap();
        let reason = "too many requests in flight";
        assert_refused(answer, StatusCode::SERVICE_UNAVAILABLE, reason).await;

        gate.passes.add_permits(2);
        for answer in held {
            assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        // The same connection: the refused body was small and is read to its end.
        let answer = client.post("/filter", "body").await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_given_up() {
    let gate = Gate::new();
    let limits = RequestLimits { timeout: Duration::from_millis(100), ..RequestLimits::default() };
    let server = start(limits, &gate).await;
    let mut client = server.client(H2).await;
    let answer = client.post("/held", "").await.unwrap();
    let reason = "the request took too long";
    assert_refused(answer, StatusCode::REQUEST_TIMEOUT, reason).await;
}

/// And a panic over either ends the request, not the server.
#[tokio::test]
async fn only_large_bodies_leave_the_worker() {
    let worker = std::thread::current().id();
    for (bytes, stays) in [(INLINE_BYTES_MAX, true), (INLINE_BYTES_MAX + 1, false)] {
        let body = Bytes::from(vec![b'x'; bytes]);
        let made = handle_body(body.clone(), |body| (body.len(), std::thread::current().id()));
        let (length, thread) = made.await;
        assert_eq!((length, thread == worker), (bytes, stays));
        let handling = tokio::spawn(handle_body(body, |_| -> () { panic!("a bug") }));
        let panic = handling.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"a bug"), "{bytes}");
    }
}

#[tokio::test]
async fn whatever_else_goes_wrong_has_the_same_shape() {
    let server = start_default().await;
    for alpn in [H1, H2] {
        let mut client = server.client(alpn).await;
        let answer = client.get("/panic").await.unwrap();
        assert_refused(answer, StatusCode::INTERNAL_SERVER_ERROR, "internal error").await;
        let answer = client.get("/nowhere").await.unwrap();
        assert_refused(answer, StatusCode::NOT_FOUND, "no such path").await;
        let answer = client.get("/filter").await.unwrap();
        assert_eq!(answer.headers()["allow"], "POST");
        let reason = "wrong method: see the Allow header";
        assert_refused(answer, StatusCode::METHOD_NOT_ALLOWED, reason).await;
        let answer = client.post("/mutate", "fine").await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_damaged_body_is_a_bad_request() {
    let server = start_default().await;
    let mut stream = server.tls(H1).await;
    let request = "POST /mutate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno length\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let said = until_closed(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    assert!(said.ends_with("{\"error\":\"the body broke off\"}\n"), "{said}");
}

/// A caller that was refused early may send on, and still gets the answer.
#[tokio::test]
async fn the_rest_of_a_refused_body_is_heard_out() {
    let server = start_default().await;
    for alpn in [H1, H2] {
        let (chunks, body) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
        let body =
            futures::stream::unfold(body, async |mut body| Some((Ok::<_, Infallible>(body.recv().await?), body)));
        let mut client = server.client(alpn).await;
        let answer = client.post("/nowhere", Body::from_stream(body));
        assert_eq!(answer.await.unwrap().status(), StatusCode::NOT_FOUND);
        // Far more than any window or buffer between us.
        for _ in 0..200 {
            soon("the body to be heard", chunks.send(vec![b'x'; MIB / 10])).await.unwrap();
        }
    }
}
