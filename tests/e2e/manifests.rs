//! `manifests/`: the real kubectl renders them, the real API server accepts them, and the pods that
//! they describe are admitted and land where they should.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::certificates::gen_sh;
use crate::control_plane::{ControlPlane, Options, get, program};
use crate::fleet::ensure_namespace;
use crate::kubectl::{kubectl, render, repository, succeed};
use crate::nodes::add_virtual_node;
use crate::pki::text;
use crate::scene::Scene;
use crate::sheetanchor::{NAMESPACE, shipped_config};
use crate::wait::{PATIENCE, eventually};

/// The base, and every directory of overlays.
fn installations() -> Vec<String> {
    let overlays = fs::read_dir(repository("manifests/overlays")).unwrap();
    let mut all: Vec<String> = overlays.map(|entry| text(&entry.unwrap().path()).to_owned()).collect();
    all.push(repository("manifests/base"));
    all.sort();
    assert!(all.len() >= 4, "{all:?}");
    all
}

/// An API server with the range of addresses that the manifests assume.
async fn hub(api_server_args: &[&str]) -> ControlPlane {
    let mut args = vec!["--service-cluster-ip-range=10.96.0.0/16".to_owned()];
    args.extend(api_server_args.iter().map(|arg| (*arg).to_owned()));
    ControlPlane::start(Options { api_server_args: args, ..Options::default() }).await
}

/// `kind/name` of each object, as kubectl prints them.
fn names(objects: &[Value]) -> BTreeSet<String> {
    let name = |object: &Value| {
        let (kind, api) = (object["kind"].as_str().unwrap(), object["apiVersion"].as_str().unwrap());
        let group = api.split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
        format!("{}{group}/{}", kind.to_lowercase(), object["metadata"]["name"].as_str().unwrap())
    };
    objects.iter().map(name).collect()
}

/// The objects that kubectl says it has dealt with, each in these words.
fn done<'a>(printed: &'a str, words: &str) -> BTreeSet<String> {
    let lines = printed.lines().map(|line: &'a str| line.strip_suffix(words).unwrap_or_else(|| panic!("{printed}")));
    lines.map(|line| line.trim_end().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_accepts_every_object_of_every_overlay() {
    let control_plane = hub(&[]).await;
    let stand_in = repository("tests/data/cert-manager-stand-in.yaml");
    kubectl(&control_plane, &["apply", "-f", &stand_in]);
    let client = control_plane.client();
    for plural in ["issuers", "certificates"] {
        let path = format!("/apis/cert-manager.io/v1/{plural}");
        eventually(&path, PATIENCE, async || get(&client, &path).await).await;
    }
    let objects: Vec<Value> = installations().iter().flat_map(|directory| render(directory)).collect();
    // A dry run creates no namespace that the next object could be in.
    let (namespaces, others): (Vec<Value>, _) = objects.into_iter().partition(|object| object["kind"] == "Namespace");
    for object in namespaces {
        try_create(&control_plane, object);
    }
    ensure_namespace(&client, NAMESPACE).await;
    for object in others {
        try_create(&control_plane, object);
    }
}

/// Creates an object, but for its being stored.
fn try_create(control_plane: &ControlPlane, object: Value) {
    let file = control_plane.dir().join("object.json");
    fs::write(&file, object.to_string()).unwrap();
    let dry = kubectl(control_plane, &["create", "--dry-run=server", "--validate=strict", "-f", text(&file)]);
    assert_eq!(done(&dry, "created (server dry run)"), names(&[object]));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_apply_installs_each_overlay_and_finds_nothing_to_change_the_second_time() {
    for directory in installations() {
        let control_plane = hub(&[]).await;
        let stand_in = repository("tests/data/cert-manager-stand-in.yaml");
        kubectl(&control_plane, &["apply", "-f", &stand_in]);
        kubectl(&control_plane, &["wait", "--for=condition=Established", "--timeout=60s", "-f", &stand_in]);
        let names = names(&render(&directory));
        let printed = kubectl(&control_plane, &["apply", "-k", &directory]);
        assert_eq!(done(&printed, "created"), names, "{directory}");
        let printed = kubectl(&control_plane, &["apply", "-k", &directory]);
        let changed: Vec<&str> = printed.lines().filter(|line| !line.ends_with(" unchanged")).collect();
        // kubectl sends the selector of a budget every time, whatever it is.
        assert_eq!(changed, ["poddisruptionbudget.policy/sheetanchor configured"], "{directory}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_kustomization_installs_with_certificates_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs/out");
    succeed(gen_sh(&["--out", text(&certs)]));
    symlink(repository("manifests"), dir.path().join("manifests")).unwrap();
    let hub = dir.path().join("hub");
    fs::create_dir(&hub).unwrap();
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let (_, rest) = readme.split_once("# hub/kustomization.yaml\n").unwrap();
    fs::write(hub.join("kustomization.yaml"), rest.split_once("```").unwrap().0).unwrap();

    let control_plane = self::hub(&[]).await;
    kubectl(&control_plane, &["apply", "-k", text(&hub)]);
    let get = |what: &[&str]| kubectl(&control_plane, &[&["-n", NAMESPACE, "get", "-o"], what].concat());
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(get(&[image, "deployment", "sheetanchor"]), "registry.example/sheetanchor:0.1.0");
    let secret = get(&["jsonpath={.spec.template.spec.volumes[0].secret.secretName}", "deployment", "sheetanchor"]);
    let ca = get(&["jsonpath={.data.ca\\.crt}", "secret", &secret]);
    let bundles =
        get(&["jsonpath={.webhooks[*].clientConfig.caBundle}", "mutatingwebhookconfiguration", "sheetanchor"]);
    assert_eq!(bundles, format!("{ca} {ca}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_certificates_readme_install_them_by_hand() {
    let control_plane = hub(&[]).await;
    kubectl(&control_plane, &["apply", "-k", &repository("manifests/base")]);
    let dir = tempfile::tempdir().unwrap();
    succeed(gen_sh(&["--out", text(&dir.path().join("certs/out"))]));
    let readme = fs::read_to_string(repository("certs/README.md")).unwrap();
    let (_, rest) = readme.split_once("\n\n```\nkubectl -n sheetanchor-system create secret").unwrap();
    let commands = format!("kubectl -n sheetanchor-system create secret{}", rest.split_once("```").unwrap().0);

    // The kubectl of these tests, by its usual name.
    let kubeconfig = control_plane.kubeconfig("admin", Some("system:masters"));
    let (real, _) = program("kubectl");
    let args: Vec<&str> = real.get_args().map(|arg| arg.to_str().unwrap()).collect();
    let name = real.get_program().to_str().unwrap();
    let wrapper = format!("#!/bin/sh\nexec {name} {} --kubeconfig={} \"$@\"\n", args.join(" "), text(&kubeconfig));
    fs::write(dir.path().join("kubectl"), wrapper).unwrap();
    fs::set_permissions(dir.path().join("kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", text(dir.path()), std::env::var("PATH").unwrap());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-euc", &commands]).current_dir(dir.path()).env("PATH", path).env("HOME", dir.path());
    succeed(shell.output().unwrap());

    let get = |what: &[&str]| kubectl(&control_plane, &[&["-n", NAMESPACE, "get", "-o"], what].concat());
    assert_eq!(get(&["jsonpath={.type}", "secret", "sheetanchor-tls"]), "kubernetes.io/tls");
    let decoded = "go-template={{range .webhooks}}{{.clientConfig.caBundle | base64decode}}{{end}}";
    let ca = fs::read_to_string(dir.path().join("certs/out/ca.crt")).unwrap();
    assert_eq!(get(&[decoded, "mutatingwebhookconfiguration", "sheetanchor"]), format!("{ca}{ca}"));
}

#[test]
fn each_component_changes_what_it_says_and_all_go_together() {
    let dir = tempfile::tempdir().unwrap();
    symlink(repository("manifests"), dir.path().join("manifests")).unwrap();
    fs::create_dir(dir.path().join("hub")).unwrap();
    let components = ["beside-clusternet", "cert-manager", "without-subscription-guard"];
    let all = components.map(|name| format!("../manifests/components/{name}")).join(", ");
    let kustomization = format!("resources: [../manifests/base]\ncomponents: [{all}]\n");
    fs::write(dir.path().join("hub/kustomization.yaml"), kustomization).unwrap();

    let base = render(&repository("manifests/base"));
    let overlay = |name: &str| render(&repository(&format!("manifests/overlays/{name}")));
    let together = render(text(&dir.path().join("hub")));
    let guarded = ["bindings.sheetanchor.dev", "subscriptions.sheetanchor.dev"];
    let ca = &json!("sheetanchor-system/sheetanchor-tls");
    let base_args = args(&base).len();
    for (objects, flags, webhooks, policies, certificates) in [
        (&base, vec![], &guarded[..], 2, None),
        (&overlay("beside-clusternet"), vec!["--taint-key=sheetanchor.dev/unhealthy"], &guarded, 2, None),
        (&overlay("cert-manager"), vec![], &guarded, 2, Some(ca)),
        (&overlay("without-subscription-guard"), vec!["--subscription-guard=off"], &guarded[..1], 0, None),
        (
            &together,
            vec!["--taint-key=sheetanchor.dev/unhealthy", "--subscription-guard=off"],
            &guarded[..1],
            0,
            Some(ca),
        ),
    ] {
        let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
        let args = args(objects);
        let (_, added) = args.split_at(base_args);
        assert_eq!(added, flags);
        let command_line = ["sheetanchor".to_owned()].into_iter().chain(args).map(OsString::from);
        assert!(sheetanchor::config::parse(command_line).is_ok());

        let configuration = find("MutatingWebhookConfiguration");
        let names: Vec<&Value> =
            configuration["webhooks"].as_array().unwrap().iter().map(|hook| &hook["name"]).collect();
        assert_eq!(names, webhooks);
        assert_eq!(configuration["metadata"]["annotations"].get("cert-manager.io/inject-ca-from"), certificates);
        let of_policy = |object: &&Value| object["kind"].as_str().unwrap().starts_with("ValidatingAdmissionPolicy");
        assert_eq!(objects.iter().filter(of_policy).count(), policies);
        assert_eq!(objects.iter().any(|object| object["kind"] == "Certificate"), certificates.is_some());
    }
}

#[test]
fn the_network_policy_lets_in_what_the_pods_serve() {
    let objects = render(&repository("manifests/base"));
    let find = |kind: &str| &objects.iter().find(|object| object["kind"] == kind).unwrap()["spec"];
    let container = &find("Deployment")["template"]["spec"]["containers"][0];
    let served: Vec<&Value> =
        container["ports"].as_array().unwrap().iter().map(|port| &port["containerPort"]).collect();
    let rules = find("NetworkPolicy")["ingress"].as_array().unwrap();
    let let_in: Vec<&Value> = rules.iter().map(|rule| &rule["ports"][0]["port"]).collect();
    assert_eq!(let_in, served);
    let metrics = format!("--metrics-bind-address=0.0.0.0:{}", served[1]);
    assert!(args(&objects).contains(&metrics) && *served[0] == 9443, "{container}");
}

/// What the program is started with.
fn args(objects: &[Value]) -> Vec<String> {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    serde_json::from_value(deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_pods_are_admitted_as_restricted_and_critical_and_land_on_the_hubs_own_nodes() {
    // As some providers do: critical pods only where a quota covers them.
    let dir = tempfile::tempdir().unwrap();
    let admission = dir.path().join("admission.yaml");
    let limited = "\
        apiVersion: apiserver.config.k8s.io/v1\n\
        kind: AdmissionConfiguration\n\
        plugins:\n\
        - name: ResourceQuota\n  \
          configuration:\n    \
            apiVersion: apiserver.config.k8s.io/v1\n    \
            kind: ResourceQuotaConfiguration\n    \
            limitedResources:\n    \
            - resource: pods\n      \
              matchScopes:\n      \
              - {scopeName: PriorityClass, operator: In, values: [system-node-critical, system-cluster-critical]}\n";
    fs::write(&admission, limited).unwrap();
    let mut control_plane = hub(&["--admission-control-config-file", text(&admission)]).await;
    let client = control_plane.client();
    let os = ("kubernetes.io/os", "linux");
    for (node, label) in [
        ("eu-1", ("sheetanchor.dev/cluster", "fleet.eu-1")),
        ("eu-2", ("clusters.clusternet.io/cluster-id", "some-id")),
        ("eu-3", ("liqo.io/remote-cluster-id", "some-id")),
        ("eu-4", ("type", "virtual-kubelet")),
        ("windows", ("kubernetes.io/os", "windows")),
    ] {
        add_virtual_node(&client, node, &[os, label]).await;
    }
    // Any of those would be better by the scheduler's scores.
    let busy = json!({"spec": {"taints": [{"key": "busy", "effect": "PreferNoSchedule"}]}});
    for (node, zone) in [("hub-1", "a"), ("hub-2", "b")] {
        add_virtual_node(&client, node, &[os, ("topology.kubernetes.io/zone", zone)]).await;
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.patch(node, &PatchParams::default(), &Patch::Merge(&busy)).await.unwrap();
    }
    kubectl(&control_plane, &["apply", "-k", &repository("manifests/base")]);
    control_plane.start_controller_manager();
    control_plane.start_scheduler(&control_plane.scheduler_config(""));

    let api: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let pods = eventually("two pods on nodes", PATIENCE, async || {
        let pods = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let bound = pods.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
        if bound.count() == 2 { Ok(pods) } else { Err(format!("{} pods", pods.len())) }
    })
    .await;
    let nodes: BTreeSet<String> = pods.iter().map(|pod| pod.spec.clone().unwrap().node_name.unwrap()).collect();
    assert_eq!(nodes, ["hub-1", "hub-2"].map(str::to_owned).into());
    assert!(pods.iter().all(|pod| pod.spec.as_ref().unwrap().priority == Some(2_000_000_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_scheduler_loads_the_shipped_configuration_and_asks() {
    let mut scene = Scene::start(&["eu-1", "eu-2", "spare-1"], &[]).await;
    let calls = async |verb: &str| {
        scene.sheetanchor.metric(&format!(r#"extender_calls_total{{verb="{verb}",outcome="Answered"}}"#)).await
    };
    assert_eq!((calls("filter").await, calls("prioritize").await), (0.0, 0.0));
    scene.control_plane.start_scheduler(&shipped_config(&scene.control_plane, &scene.sheetanchor));
    scene.control_plane.start_controller_manager();

    // Other plugins would spread them: the weight makes the spare win.
    scene.create_deployment("web", 3, json!({})).await;
    assert_eq!(scene.bound("web", 3).await, ["spare-1"; 3]);
    assert_eq!((calls("filter").await, calls("prioritize").await), (3.0, 3.0));
    // As a second one beside a scheduler that cannot be configured.
    let guide = fs::read_to_string(repository("manifests/scheduler-config/README.md")).unwrap();
    let (_, rest) = guide.split_once("```yaml\n   leaderElection:\n").unwrap();
    let lines = rest.split_once("   ```").unwrap().0.lines().map(|line| format!("{}\n", &line[3..]));
    let second = shipped_config(&scene.control_plane, &scene.sheetanchor);
    let (before, after) = second.split_once("  leaderElect: true\n").unwrap();
    scene.control_plane.start_scheduler(&format!("{before}{}{after}", lines.collect::<String>()));
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "default");
    for (name, scheduler) in [("others", "default-scheduler"), ("own", "sheetanchor-scheduler")] {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"schedulerName": scheduler, "containers": [{"name": "main", "image": "registry.example/none"}]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }
    assert_eq!(scene.bound("own", 1).await, ["spare-1"]);
    assert_eq!(calls("filter").await, 4.0);
}
