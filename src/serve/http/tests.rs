use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use http::{StatusCode, Version};
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Notify;

use super::super::counters::{HandshakeFailure, HangUp};
use super::super::guardrails::{Guardrails, with_fallbacks};
use super::super::limits::{BODY_BYTES_MAX, ConnectionLimits, RequestLimits};
use super::super::testing::{H1, H2, TestServer, soon, until, until_closed};

const SHORT: Duration = Duration::from_millis(200);

/// The same router that real doors have, with handlers that a test can hold.
fn app(gate: &Arc<Notify>) -> Router {
    let gate = Arc::clone(gate);
    let held = move || async move {
        gate.notified().await;
        "held"
    };
    let door = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/held", get(held));
    let limits = RequestLimits { timeout: 2 * SHORT, ..RequestLimits::default() };
    with_fallbacks(Guardrails::new(limits).with_limits(door, BODY_BYTES_MAX))
}

async fn start(limits: ConnectionLimits) -> TestServer {
    TestServer::start(app(&Arc::default()), limits).await
}

#[tokio::test]
async fn both_protocols_answer_with_content_length() {
    let server = start(ConnectionLimits::default()).await;
    let cases: [(&[&[u8]], Version); 3] = [(H2, Version::HTTP_2), (H1, Version::HTTP_11), (&[], Version::HTTP_11)];
    for (alpn, version) in cases {
        let mut client = server.client(alpn).await;
        // Larger than any buffer, so that nothing but the header can tell its length.
        let body = vec![b'x'; 300_000];
        let answer = client.post("/echo", body.clone()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.version(), version);
        assert_eq!(answer.headers()["content-length"], "300000");
        assert!(!answer.headers().contains_key("transfer-encoding"));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);
    }
}

#[tokio::test]
async fn a_caller_of_both_protocols_gets_http2() {
    let server = start(ConnectionLimits::default()).await;
    let stream = server.tls(&[b"http/1.1", b"h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn plain_tcp_serves_http1() {
    let limits = ConnectionLimits::default();
    let server = TestServer::start_plain(app(&Arc::default()), limits).await;
    let mut stream = server.tcp().await;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let said = until_closed(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    assert!(said.contains("content-length: 5\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\nhello"), "{said}");
}

#[tokio::test]
async fn a_tcp_connection_without_a_handshake_is_closed() {
    let server = start(ConnectionLimits { handshake_timeout: SHORT, ..ConnectionLimits::default() }).await;
    let mut silent = server.tcp().await;
    assert_eq!(until_closed(&mut silent).await, "");
    until("the failure to be counted", || server.counters.handshake_failures(HandshakeFailure::Timeout) == 1).await;
}

#[tokio::test]
async fn a_connection_without_a_first_request_is_closed() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// The preface and an empty SETTINGS frame: a finished HTTP/2 handshake.
    const SETTLED: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    type Case = (&'static str, &'static [&'static [u8]], &'static [u8]);
    let cases: [Case; 7] = [
        ("no ALPN, silent", &[], b""),
        ("h1, silent", H1, b""),
        ("h1, half a header", H1, b"POST /filter HTTP/1.1\r\nhost: lo"),
        ("h2, no preface", H2, b""),
        ("h2, half a preface", H2, &PREFACE[..11]),
        ("h2, preface only", H2, PREFACE),
        ("h2, settled and silent", H2, SETTLED),
    ];
    let server = start(ConnectionLimits { first_request_timeout: SHORT, ..ConnectionLimits::default() }).await;
    for (index, (name, alpn, sent)) in cases.into_iter().enumerate() {
        let mut stream = server.tls(alpn).await;
        stream.write_all(sent).await.unwrap();
        stream.flush().await.unwrap();
        until_closed(&mut stream).await;
        until(name, || server.counters.hang_ups(HangUp::NoRequest) == index as u64 + 1).await;
    }
}

#[tokio::test]
async fn a_trickle_of_header_bytes_buys_no_time() {
    let server = start(ConnectionLimits { first_request_timeout: SHORT, ..ConnectionLimits::default() }).await;
    let (mut reader, mut writer) = tokio::io::split(server.tls(H1).await);
    let trickle = tokio::spawn(async move {
        writer.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        while writer.write_all(b"x").await.is_ok() && writer.flush().await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    until_closed(&mut reader).await;
    trickle.abort();
    assert_eq!(server.counters.hang_ups(HangUp::NoRequest), 1);
}

#[tokio::test]
async fn a_header_without_its_body_is_answered_408_and_closed() {
    let server = start(ConnectionLimits::default()).await;
    let mut stream = server.tls(H1).await;
    let header = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf";
    stream.write_all(header).await.unwrap();
    let said = until_closed(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.ends_with("{\"error\":\"the request took too long\"}\n"), "{said}");
}

#[tokio::test]
async fn an_idle_connection_outlives_every_other_limit() {
    let server = start(ConnectionLimits {
        handshake_timeout: 5 * SHORT,
        first_request_timeout: 5 * SHORT,
        ..ConnectionLimits::default()
    })
    .await;
    for alpn in [H1, H2] {
        let mut client = server.client(alpn).await;
        assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
        tokio::time::sleep(8 * SHORT).await;
        assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(server.counters.hang_ups(HangUp::NoRequest), 0);
    assert_eq!(server.counters.hang_ups(HangUp::Idle), 0);
}

#[tokio::test]
async fn a_connection_idle_for_longer_than_any_caller_is_closed() {
    let server = start(ConnectionLimits { idle_timeout: SHORT, ..ConnectionLimits::default() }).await;
    // The second: a used connection with half a header is idle as well.
    for (index, rest) in ["", "GET / HT"].into_iter().enumerate() {
        let mut stream = server.tls(H1).await;
        let sent = format!("GET / HTTP/1.1\r\nhost: x\r\n\r\n{rest}");
        stream.write_all(sent.as_bytes()).await.unwrap();
        let said = until_closed(&mut stream).await;
        assert!(said.ends_with("hello"), "{said}");
        assert_eq!(server.counters.hang_ups(HangUp::Idle), index as u64 + 1, "{rest:?}");
    }
    let mut client = server.client(H2).await;
    client.get("/").await.unwrap();
    until("the HTTP/2 connection to end", || server.counters.open() == 0).await;
    client.get("/").await.unwrap_err();
}

#[tokio::test]
async fn failed_handshakes_are_counted_by_reason() {
    let server = start(ConnectionLimits::default()).await;
    let mut plain = server.tcp().await;
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    plain.write_all(request).await.unwrap();
    until_closed(&mut plain).await;
    server.try_tls(H1, false).await.unwrap_err();
    server.try_tls(&[b"spdy/1"], true).await.unwrap_err();
    drop(server.tcp().await);
    for reason in [
        HandshakeFailure::NotTls,
        HandshakeFailure::Refused,
        HandshakeFailure::Incompatible,
        HandshakeFailure::Disconnected,
    ] {
        until(&format!("{reason:?}"), || server.counters.handshake_failures(reason) == 1).await;
    }
    let mut client = server.client(H2).await;
    assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn above_the_cap_connections_wait_their_turn() {
    let server = start(ConnectionLimits { connections_max: 1, ..ConnectionLimits::default() }).await;
    let mut first = server.client(H1).await;
    first.get("/").await.unwrap();
    let mut waiting = server.tcp().await;
    waiting.write_all(b"not TLS").await.unwrap();
    for _ in 0..20 {
        first.get("/").await.unwrap();
        assert_eq!(server.counters.open(), 1);
    }
    assert_eq!(server.counters.handshake_failures(HandshakeFailure::NotTls), 0);
    drop(first);
    until_closed(&mut waiting).await;
    assert_eq!(server.counters.handshake_failures(HandshakeFailure::NotTls), 1);
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    for alpn in [H1, H2] {
        let gate = Arc::new(Notify::new());
        let door = Router::new().route("/held", {
            let gate = Arc::clone(&gate);
            get(async move || {
                gate.notified().await;
                "held"
            })
        });
        let server = TestServer::start(door, ConnectionLimits::default()).await;
        let mut idle = server.tls(H1).await;
        let request = b"GET /idle HTTP/1.1\r\nhost: x\r\n\r\n";
        idle.write_all(request).await.unwrap();
        let mut client = server.client(alpn).await;
        let request = client.request("GET", "/held", Body::empty());
        let answer = tokio::spawn(async move { client.send(request).await });
        until("both connections", || server.counters.open() == 2).await;
        // A request that has begun is what counts; the gate has no other way to tell.
        tokio::time::sleep(SHORT).await;
        server.stop.cancel();
        until_closed(&mut idle).await;
        until("the one in flight to be left", || server.counters.open() == 1).await;
        TcpStream::connect(server.address).await.unwrap_err();
        gate.notify_one();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "held");
        soon("the server to return", server.serving).await.unwrap();
        for reason in [HangUp::NoRequest, HangUp::Idle, HangUp::Drain] {
            assert_eq!(server.counters.hang_ups(reason), 0, "{reason:?}");
        }
    }
}

#[tokio::test]
async fn stopping_does_not_wait_longer_than_the_drain() {
    let door = Router::new().route("/never", get(std::future::pending::<()>));
    let limits = ConnectionLimits { drain_timeout: SHORT, ..ConnectionLimits::default() };
    let server = TestServer::start(door, limits).await;
    let mut stream = server.tls(H1).await;
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(SHORT).await;
    server.stop.cancel();
    soon("the server to return", server.serving).await.unwrap();
    assert_eq!(until_closed(&mut stream).await, "");
    assert_eq!(server.counters.hang_ups(HangUp::Drain), 1);
}

/// Out of file descriptors for a while, the server accepts again once it has some.
///
/// Descriptors belong to the process, so the server runs in a process of its own: this test binary
/// again, under `ulimit`, with the test below.
#[tokio::test]
async fn running_out_of_file_descriptors_is_not_the_end() {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 32 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--ignored", STARVED])
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = async |what: &'static str| loop {
        let line = soon(what, lines.next_line()).await.unwrap();
        let line = line.expect("the server has ended");
        if let Some((_, rest)) = line.split_once(what) {
            break rest.to_owned();
        }
    };
    let address: SocketAddr = told("listening on ").await.parse().unwrap();
    let mut crowd = Vec::new();
    for _ in 0..64 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    told("cannot accept").await;
    drop(crowd);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let said = until_closed(&mut stream).await;
    assert!(said.ends_with("hello"), "{said}");
}

const STARVED: &str = "serve::http::tests::a_server_with_few_file_descriptors";

#[tokio::test]
#[ignore = "the other half of the test above, which runs it"]
async fn a_server_with_few_file_descriptors() {
    let limits = ConnectionLimits::default();
    let server = TestServer::start_plain(app(&Arc::default()), limits).await;
    println!("listening on {}", server.address);
    until("descriptors to run out", || server.counters.accept_failures() > 0).await;
    println!("cannot accept");
    // Until the other half kills us, or is gone itself.
    let wait = || std::io::stdin().read_line(&mut String::new());
    tokio::task::spawn_blocking(wait).await.unwrap().unwrap();
}
