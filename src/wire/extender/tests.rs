use k8s_openapi::List;
use k8s_openapi::api::core::v1;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::domain::taint::Operator;

const NAMES: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/names-filter.json"));
const NODES: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nodes-filter.json"));

fn read(body: &str) -> ExtenderArgs<'_> {
    decode(body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn names(args: &ExtenderArgs<'_>) -> Vec<String> {
    args.candidates.iter().map(|node| node.name().to_owned()).collect()
}

#[test]
fn the_schedulers_own_bodies_are_understood() {
    for (body, pod, in_full) in [(NAMES, "cap-00002", false), (NODES, "nodes3-00000", true)] {
        let args = decode(body).unwrap();
        assert_eq!((args.pod.namespace.as_str(), args.pod.name.as_str()), ("default", pod));
        let expected: Vec<_> = (0..3).map(|n| format!("ip-10-16-0-{n}.eu-central-1.compute.internal")).collect();
        assert_eq!(names(&args), expected);
        assert_eq!(args.candidates.len(), 3);
        assert_eq!(matches!(args.candidates, Candidates::Nodes(_)), in_full);
        let keys: Vec<_> = args.pod.tolerations.iter().map(|toleration| toleration.key.as_str()).collect();
        assert_eq!(keys, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
        assert!(args.pod.tolerations.iter().all(|t| t.operator == Operator::Exists && t.effect == "NoExecute"));
    }
}

/// Old schedulers write lower case, and Go reads any.
#[test]
fn keys_match_in_any_case() {
    let recase = |body: &[u8], case: fn(&str) -> String| case(std::str::from_utf8(body).unwrap());
    for body in [NAMES, NODES] {
        let expected = names(&decode(body).unwrap());
        let lower = recase(body, str::to_lowercase);
        let args = read(&lower);
        assert_eq!(names(&args), expected);
        assert_eq!((args.pod.namespace.as_str(), args.pod.tolerations.len()), ("default", 2));
        let upper = recase(body, str::to_uppercase).replace("NULL", "null").replace("TRUE", "true");
        let args = read(&upper);
        assert_eq!(names(&args), expected.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>());
        assert_eq!((args.pod.namespace.as_str(), args.pod.tolerations.len()), ("DEFAULT", 2));
    }
}

#[test]
fn which_nodes_are_meant() {
    let items = r#"{"items":[{"metadata":{"name":"b"}}]}"#;
    for (body, expected) in [
        (r#"{"NodeNames":["a"],"Nodes":null}"#.to_owned(), Some(vec!["a"])),
        (format!(r#"{{"NodeNames":null,"Nodes":{items}}}"#), Some(vec!["b"])),
        (format!(r#"{{"Nodes":{items},"NodeNames":["a"]}}"#), Some(vec!["a"])),
        (format!(r#"{{"Nodes":{items},"NodeNames":[]}}"#), Some(vec![])),
        (r#"{"Nodes":{"metadata":{},"items":null}}"#.to_owned(), Some(vec![])),
        (r#"{"Nodes":{}}"#.to_owned(), Some(vec![])),
        (r#"{"Nodes":null,"NodeNames":null}"#.to_owned(), None),
        ("{}".to_owned(), None),
        // Of a key given twice, in whatever case, the last counts, even if it is null.
        (r#"{"NodeNames":["a"],"nodenames":["c"]}"#.to_owned(), Some(vec!["c"])),
        (r#"{"NodeNames":["a"],"NodeNames":null}"#.to_owned(), None),
        (format!(r#"{{"Nodes":{items},"nodes":{{"items":[]}}}}"#), Some(vec![])),
        // What newer schedulers may add is passed over; so is what only resembles a key.
        (r#"{"Hints":{"NodeNames":["z"]},"NodeNames":["a"],"NodeName":["y"],"":0}"#.to_owned(), Some(vec!["a"])),
        (r#"{"NodeN\u0061mes":["a"]}"#.to_owned(), Some(vec!["a"])),
    ] {
        let args = read(&body);
        let found = (!matches!(args.candidates, Candidates::Neither)).then(|| names(&args));
        assert_eq!(found.as_deref(), expected.as_deref().map(to_owned).as_deref(), "{body}");
    }
}

fn to_owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_pod_may_lack_anything() {
    for body in [
        "{}",
        r#"{"Pod":null}"#,
        r#"{"Pod":{}}"#,
        r#"{"Pod":{"metadata":null,"spec":null,"status":{}}}"#,
        r#"{"Pod":{"metadata":{"name":null},"spec":{"tolerations":null}}}"#,
        r#"{"Pod":{"metadata":{"name":"x"},"spec":{"tolerations":[{}]}},"Pod":{"spec":{}}}"#,
    ] {
        let pod = read(body).pod;
        assert_eq!((pod.namespace.as_str(), pod.name.as_str(), pod.tolerations.len()), ("", "", 0), "{body}");
    }
}

#[test]
fn tolerations_keep_their_words() {
    for (body, expected) in [
        ("{}", ("", Operator::Equal, "", "")),
        (r#"{"key":null,"operator":null,"value":null,"effect":null}"#, ("", Operator::Equal, "", "")),
        (r#"{"key":"k","operator":"Equal","value":"v","effect":"E"}"#, ("k", Operator::Equal, "v", "E")),
        (r#"{"KEY":"k","Operator":"Exists","tolerationSeconds":300}"#, ("k", Operator::Exists, "", "")),
        (r#"{"operator":"Lt","value":"\u0035"}"#, ("", Operator::Unknown, "5", "")),
    ] {
        let body = format!(r#"{{"Pod":{{"spec":{{"tolerations":[{body}]}}}}}}"#);
        let found = &read(&body).pod.tolerations[0];
        let found = (found.key.as_str(), found.operator, found.value.as_str(), found.effect.as_str());
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn a_node_is_named_by_its_own_metadata() {
    for (item, expected) in [
        (r#"{"metadata":{"name":"a"}}"#, "a"),
        (r#"{"MetaData":{"NAME":"a"}}"#, "a"),
        (r#"{"kind":"Node","spec":{"metadata":{"name":"b"},"name":"c"},"metadata":{"name":"a"}}"#, "a"),
        (r#"{"metadata":{"labels":{"name":"b"},"ownerReferences":[{"name":"c"}],"name":"a"},"name":"d"}"#, "a"),
        (r#"{"metadata":{"name":"a\"\u00e9\n"}}"#, "a\"é\n"),
        (r#"{"metadata":{"name":"a","name":"b"},"metadata":{"name":"c"}}"#, "a"),
        (r#"{"metadata":{"name":null}}"#, ""),
        (r#"{"metadata":null}"#, ""),
        (r#"{"name":"a"}"#, ""),
        ("{}", ""),
        ("null", ""),
    ] {
        let body = format!(r#"{{"Nodes":{{"items":[ {item} ,{{}}]}}}}"#);
        assert_eq!(names(&read(&body)), [expected, ""], "{item}");
    }
}

#[test]
fn what_is_no_call_is_refused_in_one_short_line() {
    let long = format!(r#"{{"NodeNames":"{}"}}"#, "é\\n".repeat(100_000));
    let nodes = |items: &str| format!(r#"{{"Nodes":{{"items":{items}}}}}"#);
    for (body, part) in [
        ("", "EOF"),
        ("null", "expected ExtenderArgs"),
        ("[]", "expected ExtenderArgs"),
        ("{} {}", "trailing"),
        ("{\"NodeNames\":[\"a\"]", "EOF"),
        (r#"{"NodeNames":[1]}"#, "invalid type: integer `1`, expected a string at line 1 column 15"),
        (r#"{"NodeNames":["a",null]}"#, "expected a string"),
        (r#"{"NodeNames":["a",{}]}"#, "expected a string"),
        (r#"{"NodeNames":{"0":"a"}}"#, "expected a sequence"),
        (r#"{"NodeNames":["\ud800"]}"#, "hex escape"),
        ("{\"NodeNames\":[\"a\nb\"]}", "control character"),
        (&long, "invalid type: string"),
        (r#"{"Pod":[]}"#, "expected a Pod"),
        (r#"{"Pod":{"spec":{"tolerations":{}}}}"#, "expected a sequence"),
        (r#"{"Pod":{"spec":{"tolerations":[{"key":["a"]}]}}}"#, "expected a string"),
        (r#"{"Nodes":[]}"#, "expected a NodeList"),
        (&nodes("{}"), "expected a sequence"),
        (&nodes("[{}, 5]"), "cannot read Nodes.items[1] as a Node: invalid type: integer `5`, expected an object"),
        (&nodes(r#"[{"metadata":[]}]"#), "expected an object with the key name"),
        (&nodes(r#"[{"metadata":{"name":5}}]"#), "expected a string"),
        (
            &nodes(r#"[{"metadata":{"name":"a"},"spec":{]}]"#),
            "cannot read the body as ExtenderArgs: key must be a string",
        ),
    ] {
        let error = decode(body.as_bytes()).expect_err(body).to_string();
        assert!(error.contains(part), "{error:?} should contain {part:?}");
        assert!(!error.contains('\n') && error.chars().count() < 300, "{error:?}");
    }
    let error = decode(b"{\"NodeNames\":[\"\xff\"]}").unwrap_err().to_string();
    assert_eq!(error, "cannot read the body as UTF-8: invalid utf-8 sequence of 1 bytes from index 15");
}

#[test]
fn a_body_that_breaks_off_is_refused() {
    for body in [NAMES, NODES] {
        for end in 0..body.len() {
            assert!(decode(&body[..end]).is_err(), "the first {end} bytes");
        }
    }
}

/// Where a string or an object belongs, depth is an error; where we do not look it is passed over.
#[test]
fn depth_does_not_reach_the_stack() {
    let arrays = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}0{}", "{\"metadata\":".repeat(100_000), "}".repeat(100_000));
    let open = "[".repeat(100_000);
    for deep in [&arrays, &objects, &open] {
        for body in [
            deep.clone(),
            format!(r#"{{"NodeNames":{deep}}}"#),
            format!(r#"{{"NodeNames":[{deep}]}}"#),
            format!(r#"{{"Pod":{{"spec":{{"tolerations":[{{"key":{deep}}}]}}}}}}"#),
            format!(r#"{{"Nodes":{{"items":[{{"metadata":{{"name":{deep}}}}}]}}}}"#),
        ] {
            // An object full of unknown keys is a call that asks nothing.
            let expected = *deep == objects && body == *deep;
            assert_eq!(decode(body.as_bytes()).is_ok(), expected, "{}", &body[..60]);
        }
        for body in [
            format!(r#"{{"NodeNames":["a"],"Unknown":{deep}}}"#),
            format!(r#"{{"NodeNames":["a"],"Pod":{{"status":{deep}}}}}"#),
            format!(r#"{{"Nodes":{{"items":[{{"metadata":{{"name":"a"}},"spec":{deep}}}]}}}}"#),
            format!(r#"{{"Nodes":{{"metadata":{deep},"items":[{{"metadata":{{"name":"a"}}}}]}}}}"#),
        ] {
            match decode(body.as_bytes()) {
                Ok(args) => assert!(names(&args) == ["a"] && *deep != open),
                Err(_) => assert!(*deep == open, "{}", &body[..60]),
            }
        }
    }
}

/// The shape as Go would declare it, over the real types: the oracle.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TypedArgs {
    pod: v1::Pod,
    nodes: Option<List<v1::Node>>,
    node_names: Option<Vec<String>>,
}

fn any_toleration() -> impl Strategy<Value = Value> {
    let word = || prop_oneof![Just(None), "[a-z./]{0,6}".prop_map(Some), any::<String>().prop_map(Some)];
    let operator = prop_oneof![Just(None), Just(Some("Exists")), Just(Some("Equal")), Just(Some("Gt"))];
    (word(), operator, word(), word(), any::<Option<i64>>()).prop_map(|(key, operator, value, effect, seconds)| {
        json!({"key": key, "operator": operator, "value": value, "effect": effect, "tolerationSeconds": seconds})
    })
}

fn any_body() -> impl Strategy<Value = Value> {
    let tolerations = proptest::option::of(proptest::collection::vec(any_toleration(), 0..4));
    let pod = (any::<Option<String>>(), any::<Option<String>>(), tolerations).prop_map(|(namespace, name, t)| {
        let containers = json!([{"name": name, "env": [{"name": "tolerations", "value": namespace}]}]);
        json!({"metadata": {"namespace": namespace, "name": name, "labels": {"name": "no"}},
            "spec": {"containers": containers, "tolerations": t}, "status": {"phase": "Pending"}})
    });
    let names = || proptest::collection::vec(any::<String>(), 0..6);
    let nodes = names().prop_map(|names| {
        let node = |name| json!({"metadata": {"name": name, "annotations": {"name": "no"}}, "spec": {"podCIDR": name}});
        json!({"metadata": {"resourceVersion": "5"}, "items": names.iter().map(node).collect::<Vec<_>>()})
    });
    (pod, proptest::option::of(nodes), proptest::option::of(names()))
        .prop_map(|(pod, nodes, names)| json!({"Pod": pod, "Nodes": nodes, "NodeNames": names}))
}

/// The same with every key's letters in a case of their own.
fn recased(value: Value, seed: &mut u64) -> Value {
    let mut flip = |letter: char| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if *seed >> 63 == 0 { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() }
    };
    match value {
        Value::Object(map) => {
            let renamed: Vec<_> = map.into_iter().map(|(key, v)| (key.chars().map(&mut flip).collect(), v)).collect();
            Value::Object(renamed.into_iter().map(|(key, value): (String, _)| (key, recased(value, seed))).collect())
        }
        Value::Array(items) => items.into_iter().map(|item| recased(item, seed)).collect(),
        other => other,
    }
}

proptest! {
    #[test]
    fn reads_what_the_typed_decoder_reads(body in any_body(), mut seed in any::<u64>(), pretty in any::<bool>()) {
        let typed: TypedArgs = serde_json::from_value(body.clone()).unwrap();
        let recased = recased(body, &mut seed);
        let text = if pretty { serde_json::to_string_pretty(&recased) } else { serde_json::to_string(&recased) }.unwrap();
        let args = read(&text);
        prop_assert_eq!(args.pod.name.as_str(), typed.pod.metadata.name.unwrap_or_default());
        prop_assert_eq!(args.pod.namespace.as_str(), typed.pod.metadata.namespace.unwrap_or_default());
        let tolerations: Vec<_> = typed.pod.spec.unwrap().tolerations.unwrap_or_default().into_iter().map(|t| Toleration {
            key: t.key.unwrap_or_default(),
            operator: match t.operator.as_deref() {
                None | Some("Equal") => Operator::Equal,
                Some("Exists") => Operator::Exists,
                Some(_) => Operator::Unknown,
            },
            value: t.value.unwrap_or_default(),
            effect: t.effect.unwrap_or_default(),
        }).collect();
        let found = names(&args);
        prop_assert_eq!(args.pod.tolerations, tolerations);
        match (typed.node_names, typed.nodes) {
            (Some(expected), _) => prop_assert_eq!(found, expected),
            (None, Some(list)) => {
                let expected: Vec<_> = list.items.into_iter().map(|node| node.metadata.name.unwrap_or_default()).collect();
                prop_assert_eq!(found, expected);
            }
            (None, None) => prop_assert!(matches!(args.candidates, Candidates::Neither)),
        }
    }

    /// A byte overwritten anywhere may change the meaning, but neither panics nor breaks the error's shape.
    #[test]
    fn a_damaged_body_is_read_or_refused(place in 0..NODES.len(), byte in any::<u8>(), whole in any::<bool>()) {
        let mut body = if whole { NODES } else { NAMES }.to_vec();
        let place = place % body.len();
        body[place] = byte;
        if let Err(error) = decode(&body) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}

/// What takes many times its own length in memory is counted, not only measured.
#[test]
fn too_many_entries_are_refused() {
    let list = |entry: &str, count: usize| vec![entry; count].join(",");
    for (name, body, expected) in [
        ("names", format!(r#"{{"NodeNames":[{}]}}"#, list("\"\"", NODES_MAX)), None),
        (
            "names, one more",
            format!(r#"{{"NodeNames":[{}]}}"#, list("\"\"", NODES_MAX + 1)),
            Some("more than 200000 entries"),
        ),
        (
            "nodes, one more",
            format!(r#"{{"Nodes":{{"items":[{}]}}}}"#, list("{}", NODES_MAX + 1)),
            Some("more than 200000 entries"),
        ),
        (
            "tolerations, one more",
            format!(r#"{{"Pod":{{"spec":{{"tolerations":[{}]}}}}}}"#, list("{}", TOLERATIONS_MAX + 1)),
            Some("more than 1000 entries"),
        ),
    ] {
        let error = decode(body.as_bytes()).err().map(|error| error.to_string());
        match expected {
            None => assert_eq!(error, None, "{name}"),
            Some(part) => assert!(error.as_deref().unwrap_or_default().contains(part), "{name}: {error:?}"),
        }
    }
}
