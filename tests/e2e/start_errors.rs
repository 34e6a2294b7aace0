//! Starts that fail: each is one line that says what is wrong and what to do.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, Options, get};
use crate::fleet::ensure_namespace;
use crate::kubectl::{kubectl, repository};
use crate::pki::{Leaf, Pki, text};
use crate::process::{EndsWithStdin, Process};
use crate::sheetanchor::NAMESPACE;
use crate::wait::{PATIENCE, eventually};

/// One start: what is wrong, the flags, the certificate, key and kubeconfig, the exit code, and what
/// is said, in which `…` stands for what is not ours to say.
type Case<'a> = (&'a str, Vec<&'a str>, [&'a str; 3], i32, String);

#[test]
fn a_start_that_cannot_succeed_is_one_line_and_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let files = StartFiles::new(dir.path());
    let paths = files.paths();
    for (name, args, paths, code, expected) in
        [addresses(&files, paths), certificates(dir.path(), &files), kubeconfigs(&files), flags(paths)]
            .into_iter()
            .flatten()
    {
        check(name, serve(&args, paths), code, &expected);
    }
    let output = serve(&["--logging-format=json", "--log-level=error"], [&files.missing; 3]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&told["level"], output.status.code()), (&json!("ERROR"), Some(1)), "{told}");
    assert!(told["message"].as_str().unwrap().starts_with("cannot read TLS certificate"), "{told}");
    // With neither a flag nor anything in the usual places.
    let mut command = serve_as_usual(paths);
    command.env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST").env("HOME", dir.path());
    let usual = text(&dir.path().join(".kube/config")).to_owned();
    let expected = format!(
        "error: cannot find the hub: this is no Pod with a service account, and no kubeconfig in KUBECONFIG or \
         ~/.kube/config can be used (…{usual}…No such file or directory…); name one with --kubeconfig"
    );
    check("no kubeconfig at all", command, 1, &expected);
    // kube would name a feature of its own that is off.
    for (name, mut command, begin) in [
        ("a proxy", serve(&[], [paths[0], paths[1], &files.remote]), "error: cannot use --kubeconfig …: "),
        ("a proxy, as usual", serve_as_usual(paths), "error: "),
    ] {
        command.env("HTTPS_PROXY", "http://127.0.0.1:1").env("KUBECONFIG", &files.remote);
        let expected =
            "cannot reach the hub https://hub.invalid/ through the proxy http://127.0.0.1:1/: unset HTTPS_PROXY, …";
        check(name, command, 1, &format!("{begin}{expected}"));
    }
}

/// As [`serve`], with the kubeconfig in the usual places.
fn serve_as_usual(paths: [&str; 3]) -> Command {
    let named = serve(&[], paths);
    let mut command = Command::new(named.get_program());
    command.args(named.get_args().take_while(|arg| *arg != "--kubeconfig"));
    command
}

fn addresses<'a>(files: &'a StartFiles, paths: [&'a str; 3]) -> Vec<Case<'a>> {
    let (taken, port) = (&files.taken, &files.taken_port);
    let in_use = format!(
        "error: cannot listen on {taken} (choose another with --bind-address, --secure-port): Address already in use…"
    );
    let admin =
        format!("error: cannot listen on {taken} (choose another with --admin-bind-address): Address already in use…");
    let metrics = format!(
        "error: cannot listen on {taken} (choose another with --metrics-bind-address): Address already in use…"
    );
    // An address of the range that is reserved for documentation.
    let foreign = "error: cannot listen on 192.0.2.1:0 (choose another with --admin-bind-address): Cannot assign requested address…";
    vec![
        ("port taken", vec![port], paths, 1, in_use),
        ("admin port taken", vec!["--admin-bind-address", taken], paths, 1, admin),
        ("metrics port taken", vec!["--metrics-bind-address", taken], paths, 1, metrics),
        ("another's address", vec!["--admin-bind-address=192.0.2.1:0"], paths, 1, foreign.to_owned()),
    ]
}

fn certificates<'a>(dir: &'a Path, files: &'a StartFiles) -> Vec<Case<'a>> {
    let [cert, key, kubeconfig] = files.paths();
    let [missing, empty, other] = [&files.missing, &files.empty, &files.other_key].map(String::as_str);
    let [old, new] = [&files.expired, &files.not_yet_valid];
    let (old, old_key, new, new_key) = (text(&old.cert), text(&old.key), text(&new.cert), text(&new.key));
    let directory = text(dir);
    let unread = |what: &str, path: &str, why: &str| {
        format!("error: cannot read TLS {what} \"{path}\": is the Secret mounted?: {why}…")
    };
    let no_certificate =
        |path: &str| format!("error: no certificate in \"{path}\": a PEM block \"CERTIFICATE\" is needed");
    let no_key = |path: &str| {
        format!("error: no private key in \"{path}\": an unencrypted PEM block in PKCS#8, PKCS#1 or SEC1 is needed")
    };
    let mismatch =
        format!("error: TLS key \"{other}\" does not belong to certificate \"{cert}\": were they rotated together?");
    let expired = format!(
        "error: TLS certificate \"{old}\" expired at 2002-01-01T00:00:00Z, and now it is …: renew it as certs/README.md says"
    );
    let early = format!(
        "error: TLS certificate \"{new}\" is valid only from 2200-01-01T00:00:00Z, and now it is …: is the clock of \
         this machine right, or that of the one that made it?"
    );
    vec![
        ("no certificate", vec![], [missing, key, kubeconfig], 1, unread("certificate", missing, "No such file")),
        ("a directory", vec![], [directory, key, kubeconfig], 1, unread("certificate", directory, "Is a directory")),
        ("an empty certificate", vec![], [empty, key, kubeconfig], 1, no_certificate(empty)),
        ("the two swapped", vec![], [key, cert, kubeconfig], 1, no_certificate(key)),
        ("no key", vec![], [cert, missing, kubeconfig], 1, unread("key", missing, "No such file")),
        ("an empty key", vec![], [cert, empty, kubeconfig], 1, no_key(empty)),
        ("another's key", vec![], [cert, other, kubeconfig], 1, mismatch),
        ("an expired certificate", vec![], [old, old_key, kubeconfig], 1, expired),
        ("a certificate of the future", vec![], [new, new_key, kubeconfig], 1, early),
    ]
}

fn kubeconfigs(files: &StartFiles) -> Vec<Case<'_>> {
    let [cert, key, _] = files.paths();
    let advice = "; choose one of its contexts with \"kubectl config use-context\"";
    let mut cases = Vec::new();
    for (name, path, why) in [
        ("no such kubeconfig", &files.missing, "…No such file or directory…".to_owned()),
        ("a kubeconfig that is no YAML", &files.junk, "…".to_owned()),
        ("an empty kubeconfig", &files.empty, format!("failed to determine current context{advice}")),
        ("no such context", &files.no_context, format!("failed to load current context: c{advice}")),
    ] {
        let expected = format!("error: cannot use --kubeconfig \"{path}\": {why}");
        cases.push((name, vec![], [cert, key, path.as_str()], 1, expected));
    }
    let expected = "error: cannot log in to the hub as the kubeconfig says: …No such file or directory…";
    cases.push(("no such login", vec![], [cert, key, &files.no_login], 1, expected.to_owned()));
    cases
}

/// A few: the rest is beside the flags.
fn flags(paths: [&str; 3]) -> Vec<Case<'_>> {
    [
        ("no such policy", "--spare-policy=Always", "…Always…--spare-policy…Prefer, OnFailure, Reserve…"),
        ("no duration", "--cluster-status-update-frequency=3", "…--cluster-status-update-frequency…1s to 1h…"),
        ("no such flag", "--spares=2", "…--spares…"),
        ("no lease", "--leader-elect-lease-duration=5s", "…--leader-elect-lease-duration=5s…longer than…"),
        ("no level", "--log-level=loud=quiet", "…loud=quiet…--log-level…debug…"),
    ]
    .map(|(name, flag, expected)| (name, vec![flag], paths, 2, format!("error: {expected}")))
    .into()
}

/// Runs it to its end.
fn check(name: &str, mut command: Command, code: i32, expected: &str) {
    let output = command.output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let told: Vec<&str> = log.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!((output.status.code(), told.len()), (Some(code), 1), "{name}: {log}");
    assert!(matches(told[0], expected), "{name}: {}\nexpected: {expected}", told[0]);
    assert!(output.stdout.is_empty(), "{name}");
}

/// Whether a line is like `pattern`, in which each `…` stands for anything.
fn matches(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let parts: Vec<&str> = parts.collect();
    for part in &parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || parts.last() == Some(&"")
}

/// What a start needs, without a hub, and what it cannot use.
pub(crate) struct StartFiles {
    cert: String,
    key: String,
    /// Names a hub that nobody answers for.
    pub(crate) kubeconfig: String,
    other_key: String,
    expired: Leaf,
    not_yet_valid: Leaf,
    missing: String,
    empty: String,
    junk: String,
    no_context: String,
    no_login: String,
    /// Names a hub on another machine.
    remote: String,
    /// Holds the port.
    _listener: TcpListener,
    taken: String,
    taken_port: String,
}

impl StartFiles {
    pub(crate) fn new(dir: &Path) -> Self {
        let pki = Pki::new(dir.join("pki"));
        let (leaf, other) = (pki.server(&["localhost"]), pki.server(&["localhost"]));
        let file = |name: &str, content: &str| {
            let path = dir.join(name);
            fs::write(&path, content).unwrap();
            text(&path).to_owned()
        };
        let kubeconfig = |contexts: Value, user: Value| {
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": contexts,
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "c", "user": user}],
            });
            config.to_string()
        };
        let context = json!([{"name": "c", "context": {"cluster": "c", "user": "c"}}]);
        let login = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-login", "interactiveMode": "Never",
        }});
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        Self {
            cert: text(&leaf.cert).to_owned(),
            key: text(&leaf.key).to_owned(),
            kubeconfig: file("kubeconfig", &kubeconfig(context.clone(), json!({}))),
            other_key: text(&other.key).to_owned(),
            expired: pki.server_in(2001..2002),
            not_yet_valid: pki.server_in(2200..2201),
            missing: text(&dir.join("missing")).to_owned(),
            empty: file("empty", ""),
            junk: file("junk", "no: [yaml"),
            no_context: file("no-context", &kubeconfig(json!([]), json!({}))),
            no_login: file("no-login", &kubeconfig(context.clone(), login)),
            remote: file(
                "remote",
                &kubeconfig(context, json!({})).replace("http://127.0.0.1:1", "https://hub.invalid"),
            ),
            taken: taken.to_string(),
            taken_port: format!("--secure-port={}", taken.port()),
            _listener: listener,
        }
    }

    /// The certificate, the key and the kubeconfig of a start that works.
    fn paths(&self) -> [&str; 3] {
        [&self.cert, &self.key, &self.kubeconfig]
    }
}

/// How to run `serve`; a free port for whatever is not named.
pub(crate) fn serve(args: &[&str], [cert, key, kubeconfig]: [&str; 3]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheetanchor"));
    command.args(["serve", "--bind-address=127.0.0.1"]);
    for (flag, free) in [("--secure-port", "0"), ("--admin-bind-address", "127.0.0.1:0")] {
        if !args.iter().any(|arg| arg.starts_with(flag)) {
            command.args([flag, free]);
        }
    }
    command.args(["--tls-cert-file", cert, "--tls-private-key-file", key, "--kubeconfig", kubeconfig]);
    command.args(args);
    command
}

/// How often the API server found no rule that grants what was asked, on its page.
const REFUSALS: &str = r#"authorization_attempts_total{result="no-opinion"} "#;

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_refuses_us_is_said_once_with_what_to_do_and_served_when_it_relents() {
    let control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    ensure_namespace(&client, NAMESPACE).await;
    let dir = tempfile::tempdir().unwrap();
    let files = StartFiles::new(dir.path());
    let replica = |name: &str, kubeconfig: &Path| {
        let [cert, key, _] = files.paths();
        Process::spawn(name, serve(&[], [cert, key, text(kubeconfig)]), control_plane.dir(), EndsWithStdin::No)
    };

    let token = control_plane.kubeconfig_with_token("no-token");
    let stale = replica("stale", &token);
    until_warned(
        &stale,
        "Unauthorized (401 Unauthorized); is the kubeconfig that of this hub, and its token or certificate still valid?",
    )
    .await;

    let elsewhere = Pki::new(control_plane.dir().join("elsewhere"));
    let ours = fs::read_to_string(&token).unwrap();
    let theirs = ours.replace(text(&control_plane.pki().ca_file()), text(&elsewhere.ca_file()));
    assert_ne!(theirs, ours);
    let kubeconfig = control_plane.dir().join("elsewhere.kubeconfig");
    fs::write(&kubeconfig, theirs).unwrap();
    let lost = replica("lost", &kubeconfig);
    until_warned(
        &lost,
        "cannot reach the API server: …invalid peer certificate: …; is that the hub, and certificate-authority in the kubeconfig its CA?",
    )
    .await;

    let user = format!("system:serviceaccount:{NAMESPACE}:sheetanchor");
    let unarmed = replica("unarmed", &control_plane.kubeconfig(&user, None));
    eventually("several tries by each of the four", PATIENCE, async || {
        let page = get(&client, "/metrics").await?;
        let count = page.lines().find_map(|line| line.strip_prefix(REFUSALS)).ok_or("none")?;
        if count.parse::<u32>().is_ok_and(|count| count > 16) { Ok(()) } else { Err(count.to_owned()) }
    })
    .await;
    until_warned(&unarmed, "(403 Forbidden); grant it: manifests/base/rbac.yaml has all rights that are needed").await;
    kubectl(&control_plane, &["apply", "-f", &repository("manifests/base/rbac.yaml")]);
    eventually("it to use what it was granted", PATIENCE, async || {
        let log = unarmed.log();
        let works = ["watching resource=\"managedclusters\"", "watching resource=\"nodes\"", "leadership acquired"];
        if works.iter().all(|words| log.contains(words)) { Ok(()) } else { Err(log) }
    })
    .await;
}

/// Waits until all four that call the hub at start have warned with these words, each once: the two
/// watches, the Lease, the brake's record. And that is all that is said.
async fn until_warned(sheetanchor: &Process, words: &str) {
    eventually("four warnings", PATIENCE, async || {
        let log = sheetanchor.log();
        let warnings: Vec<&str> = log.lines().filter(|line| !line.contains(" INFO ")).collect();
        assert!(warnings.len() <= 4, "{log}");
        let pattern = format!("…{words}…");
        assert!(warnings.iter().all(|line| line.contains(" WARN ") && matches(line, &pattern)), "{log}");
        if warnings.len() == 4 { Ok(()) } else { Err(log) }
    })
    .await;
}
