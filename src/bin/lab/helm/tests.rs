use serde_json::{Value, json};

use super::{apply, begin, compact, listed, picture, read_values, updated};
use crate::answer::Answer;
use crate::cobra::{Invocation, Tool, parse};
use crate::kubernetes::helm as releases;
use crate::kubernetes::{Objects, Outside, Store as _};

const COREDNS: &str = "oci://ghcr.io/coredns/charts/coredns";
const LINE: &str = "upgrade --install coredns oci://ghcr.io/coredns/charts/coredns --version 1.45.0 -n kube-system --reset-values -f - --timeout 10m";

fn call(line: &str) -> Invocation {
    let words: Vec<String> = line.split_whitespace().map(ToString::to_string).collect();
    parse(Tool::Helm, &words).unwrap()
}

fn cluster() -> (Objects, Outside) {
    let mut objects = Objects::new(1, 1_790_000_000_000, 0);
    objects.write(
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "kube-system" } }),
    );
    let outside = Outside {
        service_cidr: "10.245.0.0/16".to_string(),
        ..Outside::default()
    };
    (objects, outside)
}

fn install(objects: &mut Objects, outside: &mut Outside, line: &str, values: &Value) -> Answer {
    let begun = begin(
        &call(line),
        objects,
        outside,
        ("kube-system", "coredns"),
        (COREDNS, "1.45.0"),
        values,
    );
    match begun {
        Err(answer) => answer,
        Ok(order) => apply(objects, outside, "kube-system", "coredns", &order),
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.stdout.clone()).unwrap()
}

#[test]
fn the_first_installation_says_so_and_the_second_upgrades() {
    let (mut objects, mut outside) = cluster();
    let first = install(
        &mut objects,
        &mut outside,
        LINE,
        &json!({ "replicaCount": 2 }),
    );
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(text(&first).starts_with("Release \"coredns\" does not exist. Installing it now.\nNAME: coredns\nLAST DEPLOYED: Mon Sep 21 "), "{}", text(&first));
    assert!(
        text(&first)
            .ends_with("NAMESPACE: kube-system\nSTATUS: deployed\nREVISION: 1\nTEST SUITE: None\n")
    );
    assert!(
        first
            .stderr
            .starts_with("Pulled: ghcr.io/coredns/charts/coredns:1.45.0\nDigest: sha256:")
    );
    let second = install(
        &mut objects,
        &mut outside,
        LINE,
        &json!({ "replicaCount": 2 }),
    );
    assert!(
        text(&second)
            .starts_with("Release \"coredns\" has been upgraded. Happy Helming!\nNAME: coredns\n")
    );
    assert!(text(&second).contains("REVISION: 2\n"));
}

#[test]
fn a_call_that_is_killed_leaves_a_lock_that_only_uninstalling_opens() {
    let (mut objects, mut outside) = cluster();
    let begun = begin(
        &call(LINE),
        &mut objects,
        &mut outside,
        ("kube-system", "coredns"),
        (COREDNS, "1.45.0"),
        &json!({}),
    );
    assert!(begun.is_ok());
    assert!(
        listed(&objects, "kube-system", None, false).is_empty(),
        "a plain list does not show it"
    );
    let all = listed(&objects, "kube-system", None, true);
    assert_eq!(
        (all[0].status.as_str(), all[0].version),
        ("pending-install", 1)
    );
    let refused = install(&mut objects, &mut outside, LINE, &json!({}));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.ends_with(
        "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress\n"
    ));
    releases::uninstall(&mut objects, "kube-system", "coredns").unwrap();
    assert_eq!(
        install(&mut objects, &mut outside, LINE, &json!({})).code,
        0
    );
}

#[test]
fn without_values_those_of_the_last_release_are_taken_unless_they_are_reset() {
    let (mut objects, mut outside) = cluster();
    let keep = LINE.replace(" --reset-values", "");
    install(
        &mut objects,
        &mut outside,
        LINE,
        &json!({ "replicaCount": 3 }),
    );
    install(&mut objects, &mut outside, &keep, &json!({}));
    let config = |objects: &Objects| {
        releases::last(objects, "kube-system", "coredns")
            .unwrap()
            .config
    };
    assert_eq!(config(&objects), json!({ "replicaCount": 3 }));
    install(&mut objects, &mut outside, LINE, &json!({}));
    assert_eq!(config(&objects), json!({}));
}

#[test]
fn what_is_missing_is_told_and_leaves_no_record() {
    let (mut objects, mut outside) = cluster();
    let gone = begin(
        &call(LINE),
        &mut objects,
        &mut outside,
        ("nope", "coredns"),
        (COREDNS, "1.45.0"),
        &json!({}),
    )
    .err()
    .unwrap();
    assert_eq!(
        text(&gone),
        "Release \"coredns\" does not exist. Installing it now.\n"
    );
    assert!(
        gone.stderr
            .ends_with("Error: create: failed to create: namespaces \"nope\" not found\n"),
        "{}",
        gone.stderr
    );
    let gone = begin(
        &call(LINE),
        &mut objects,
        &mut outside,
        ("kube-system", "coredns"),
        (COREDNS, "9.9.9"),
        &json!({}),
    )
    .err()
    .unwrap();
    assert_eq!(
        gone.stderr,
        "Error: failed to perform \"FetchReference\" on source: ghcr.io/coredns/charts/coredns:9.9.9: not found\n"
    );
    let plain = LINE.replace(" --install", "");
    let gone = begin(
        &call(&plain),
        &mut objects,
        &mut outside,
        ("kube-system", "coredns"),
        (COREDNS, "1.45.0"),
        &json!({}),
    )
    .err()
    .unwrap();
    assert_eq!(
        gone.stderr,
        "Error: UPGRADE FAILED: \"coredns\" has no deployed releases\n"
    );
    assert!(releases::records(&objects, "").is_empty());
}

#[test]
fn an_object_that_is_not_helms_is_not_taken() {
    let (mut objects, mut outside) = cluster();
    objects.write(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "coredns", "namespace": "kube-system" } }));
    let refused = install(
        &mut objects,
        &mut outside,
        LINE,
        &json!({ "fullnameOverride": "coredns" }),
    );
    assert!(refused.stderr.contains("Error: Unable to continue with install: ConfigMap \"coredns\" in namespace \"kube-system\" exists and cannot be imported into the current release: invalid ownership metadata; label validation error: missing key \"app.kubernetes.io/managed-by\": must be set to \"Helm\";"), "{}", refused.stderr);
    assert!(releases::records(&objects, "").is_empty());
}

#[test]
fn values_are_a_map_or_nothing() {
    let ok = |text: &str| read_values("-", text).unwrap();
    assert_eq!(ok(""), json!({}));
    assert_eq!(ok("# nothing\n"), json!({}));
    assert_eq!(ok("a: 1\n"), json!({ "a": 1 }));
    let refused = read_values("-", "[1]").unwrap_err();
    assert_eq!(
        refused.stderr,
        "Error: failed to parse -: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}\n"
    );
    assert!(
        read_values("-", "a: [")
            .unwrap_err()
            .stderr
            .starts_with("Error: failed to parse -: error converting YAML to JSON: ")
    );
}

#[test]
fn json_and_dates_are_those_of_go() {
    assert_eq!(
        compact(&json!({ "b": "<", "a": 1 })),
        "{\"a\":1,\"b\":\"\\u003c\"}\n"
    );
    assert_eq!(compact(&Value::Null), "null\n");
    assert_eq!(
        updated("2026-11-23T01:10:03Z"),
        "2026-11-23 01:10:03 +0000 UTC"
    );
    let (mut objects, mut outside) = cluster();
    install(&mut objects, &mut outside, LINE, &json!({}));
    let mut release = releases::last(&objects, "kube-system", "coredns").unwrap();
    release.last = "2026-11-03T01:10:00Z".to_string();
    assert!(picture(&release).contains("LAST DEPLOYED: Tue Nov  3 01:10:00 2026\n"));
}
