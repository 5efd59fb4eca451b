//! Story 3.3 in the lab: from metal to both clusters following the repository; again; killed and resumed; and what each story's criteria see.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bootstrap::journal::CRASH_AFTER_LINE;
use serde_json::Value;

use crate::drill::Running;
use crate::lab::{Lab, copy, repository, run};

/// The run that ends where both clusters follow the repository.
pub(crate) const RUN: [&str; 6] = ["run", "story", "3.3", "--yes", "--output", "plain"];
const STORIES: [&str; 8] = ["2.1", "2.2", "2.3", "2.4", "2.5", "3.1", "3.2", "3.3"];
const CLUSTERS: [&str; 2] = ["infra", "apps"];
/// How many criteria the stories of epics 1 to 3 have, each as often as it is about something.
pub(crate) const CRITERIA: usize = 117;

/// A world, and a project that is a Git repository whose commit the world's remote has.
pub(crate) fn room() -> Lab {
    let lab = Lab::new();
    publish(&lab);
    lab
}

/// Makes the project a Git repository whose commit the world's remote has.
pub(crate) fn publish(lab: &Lab) {
    fs::copy(
        repository().join(".gitignore"),
        lab.project().join(".gitignore"),
    )
    .unwrap();
    let project = lab.project();
    lab.lab(["git", "WORLD", project.to_str().unwrap()])
        .success();
}

/// What a cluster holds, without what chance or the order of work decides: names of pods, addresses that were handed out, revisions.
fn picture(lab: &Lab, cluster: &str) -> BTreeMap<String, Value> {
    const KINDS: &str = "namespaces,crd,configmaps,secrets,services,deployments,daemonsets,helmreleases,ocirepositories,gitrepositories,kustomizations,externalsecrets,\
                         clustersecretstores,gateways,gatewayclasses,ciliumloadbalancerippools,ciliumbgpclusterconfigs,ciliumbgppeerconfigs,ciliumbgpadvertisements";
    let mut command = lab.command(env!("CARGO_BIN_EXE_lab"));
    command.arg("exec").arg(lab.world()).args(["--", "kubectl"]);
    command.args(["get", KINDS, "-A", "-o", "json", "--kubeconfig"]);
    command.args(["kubernetes/kubeconfig", "--context", cluster]);
    let all = run(command).success().json();
    let mut picture = BTreeMap::new();
    for object in all["items"].as_array().unwrap() {
        let word = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("");
        let name = format!(
            "{} {}/{}",
            word("/kind"),
            word("/metadata/namespace"),
            word("/metadata/name")
        );
        // Helm's records: how often a release was upgraded is another question.
        if word("/type") == "helm.sh/release.v1" {
            continue;
        }
        let wish = match word("/kind") {
            "Secret" => serde_json::json!(
                object["data"]
                    .as_object()
                    .map(|data| data.keys().collect::<Vec<_>>())
            ),
            "Service" => object["spec"]["ports"].clone(),
            // Also says in which run a test passed.
            "ConfigMap" if word("/metadata/name").starts_with("tested-") => {
                object["data"]["about"].clone()
            }
            "ConfigMap" => object["data"].clone(),
            _ => object["spec"].clone(),
        };
        let ready = object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Ready")
            .map(|condition| condition["status"].clone());
        picture.insert(name, serde_json::json!({ "wish": wish, "ready": ready }));
    }
    picture
}

/// What is not met of the criteria of the stories of epics 2 and 3, and why. Each story is asked by itself: an epic's stories that need one
/// that is unmet are not asked at all.
pub(crate) fn all_unmet(lab: &Lab) -> BTreeSet<(String, String)> {
    STORIES.iter().flat_map(|story| unmet(lab, story)).collect()
}

/// What is not met of the criteria of a story, and why.
pub(crate) fn unmet(lab: &Lab, story: &str) -> BTreeSet<(String, String)> {
    let said = lab.bootstrap(["verify", "story", story]);
    assert!(matches!(said.code, Some(0 | 1)), "{}", said.stderr);
    let status = lab.bootstrap(["status", "--json"]).success().json();
    let tasks = status["tasks"].as_array().unwrap();
    tasks
        .iter()
        .filter(|task| task["status"] != "met")
        .map(|task| {
            let key = task["key"].as_str().unwrap().split('[').next().unwrap();
            let why = task["why"].as_str().unwrap_or_default();
            let why = why.strip_prefix("not met: ").unwrap_or(why);
            (key.to_owned(), why.to_owned())
        })
        .collect()
}

pub(crate) fn met(lab: &Lab) -> usize {
    let status = lab.bootstrap(["status", "--json"]).success().json();
    let tasks = status["tasks"].as_array().unwrap();
    tasks
        .iter()
        .filter(|task| task["key"].as_str().unwrap().contains("/criterion-"))
        .filter(|task| task["status"] == "met")
        .count()
}

/// A copy of a room, to be hurt.
fn copy_of(lab: &Lab) -> Lab {
    let other = Lab::without_world();
    copy(lab.folder(), other.folder());
    other
}

#[test]
fn both_clusters_follow_the_repository_from_metal_and_a_second_run_changes_nothing() {
    let lab = room();
    lab.bootstrap(RUN).success();
    assert_eq!(met(&lab), CRITERIA);
    let before = CLUSTERS.map(|cluster| picture(&lab, cluster));
    for (cluster, picture) in CLUSTERS.iter().zip(&before) {
        assert!(picture.len() > 60, "{cluster}: {}", picture.len());
        let unready: Vec<&String> = picture
            .iter()
            .filter(|(_, object)| object["ready"] == "False")
            .map(|(name, _)| name)
            .collect();
        assert_eq!(unready, [] as [&String; 0], "{cluster}");
    }
    let calls = lab.calls("").len();
    lab.bootstrap(RUN).success();
    let status = lab.bootstrap(["status", "--json"]).success().json();
    let changed: Vec<&Value> = status["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|task| task["status"] == "changed")
        .collect();
    assert_eq!(changed, [] as [&Value; 0]);
    // What tests left behind is swept before and after them, also when there is nothing.
    let acts = ["apply", "upgrade", "bootstrap", "apply-config"];
    let acted: Vec<String> = lab
        .calls("")
        .split_off(calls)
        .iter()
        .filter(|call| acts.contains(&call.argv[0].as_str()))
        .map(crate::lab::Call::line)
        .collect();
    assert_eq!(acted, [] as [String; 0]);
    assert_eq!(before, CLUSTERS.map(|cluster| picture(&lab, cluster)));
    faults(&lab);
    kubectl(&lab);
    losses(&lab, &before[1]);
}

/// A machine that was wiped, and a cluster whose every machine was: the same run brings them back to where they were.
fn losses(lab: &Lab, apps: &BTreeMap<String, Value>) {
    let lab = copy_of(lab);
    lab.lab(["hurt", "WORLD", "node", "10.25.11.12", "wipe"])
        .success();
    lab.bootstrap(RUN).success();
    lab.lab(["hurt", "WORLD", "cluster", "apps", "wipe"])
        .success();
    lab.bootstrap(RUN).success();
    assert_eq!(met(&lab), CRITERIA);
    assert_eq!(picture(&lab, "apps"), *apps);
    // Flux found all that it needs: it was installed in one attempt.
    let installed: Vec<Option<i64>> = lab
        .calls("flux bootstrap git")
        .iter()
        .map(|call| call.exit)
        .collect();
    assert_eq!(installed, [Some(0), Some(0), Some(0)]);
}

/// kubectl of the lab answers as the real one, which was asked the same against a real API server.
fn kubectl(lab: &Lab) {
    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: c1, namespace: default }\ndata: { a: '1' }\n";
    const FOREIGN: &str = "apiVersion: example.com/v1\nkind: Frob\nmetadata: { name: x }\n";
    const STRAY: &str =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: c1, namespace: nope }\n";
    const NO_KIND: &str = "error: resource mapping not found for name: \"x\" namespace: \"\" from \"STDIN\": no matches for kind \"Frob\" in version \"example.com/v1\"\nensure CRDs are installed first\n";
    let nothing = "{\n    \"apiVersion\": \"v1\",\n    \"items\": [],\n    \"kind\": \"List\",\n    \"metadata\": {\n        \"resourceVersion\": \"\"\n    }\n}\n";
    let not_found = |what: &str| format!("Error from server (NotFound): {what} not found\n");
    let both = format!("{MAP}---\n{FOREIGN}");
    // Words, standard input, exit code, standard output, standard error.
    let table: Vec<(&str, &str, u8, &str, String)> = vec![
        (
            "get frobs",
            "",
            1,
            "",
            "error: the server doesn't have a resource type \"frobs\"\n".into(),
        ),
        (
            "get frobs.example.com --ignore-not-found",
            "",
            1,
            "",
            "error: the server doesn't have a resource type \"frobs\"\n".into(),
        ),
        (
            "get ns nope -o json",
            "",
            1,
            "",
            not_found("namespaces \"nope\""),
        ),
        ("get ns nope --ignore-not-found", "", 0, "", String::new()),
        (
            "get cm c1 -n nope",
            "",
            1,
            "",
            not_found("namespaces \"nope\""),
        ),
        ("get cm -n nope -o json", "", 0, nothing, String::new()),
        (
            "get cm -n nope",
            "",
            0,
            "",
            "No resources found in nope namespace.\n".into(),
        ),
        (
            "get ns default nope -o name",
            "",
            1,
            "namespace/default\n",
            not_found("namespaces \"nope\""),
        ),
        (
            "get crd nope",
            "",
            1,
            "",
            not_found("customresourcedefinitions.apiextensions.k8s.io \"nope\""),
        ),
        (
            "get ns default -o jsonpath={.status.phase}",
            "",
            0,
            "Active",
            String::new(),
        ),
        (
            "get deploy coredns -n kube-system -o name",
            "",
            0,
            "deployment.apps/coredns\n",
            String::new(),
        ),
        (
            "apply --server-side -f -",
            "",
            1,
            "",
            "error: no objects passed to apply\n".into(),
        ),
        (
            "apply --server-side -f -",
            STRAY,
            1,
            "",
            not_found("namespaces \"nope\""),
        ),
        // What comes before and after it is applied.
        (
            "apply --server-side -f -",
            &both,
            1,
            "configmap/c1 serverside-applied\n",
            NO_KIND.into(),
        ),
        (
            "delete cm c1 -n nope",
            "",
            1,
            "",
            not_found("configmaps \"c1\""),
        ),
        (
            "delete cm c1",
            "",
            0,
            "configmap \"c1\" deleted from default namespace\n",
            String::new(),
        ),
        ("delete cm c1", "", 1, "", not_found("configmaps \"c1\"")),
        ("delete cm c1 --ignore-not-found", "", 0, "", String::new()),
        (
            "delete cm -l a=zz",
            "",
            0,
            "No resources found\n",
            String::new(),
        ),
        (
            "wait ns/default --for=jsonpath={.status.phase}=Active",
            "",
            0,
            "namespace/default condition met\n",
            String::new(),
        ),
        (
            "wait ns/nope --for=jsonpath={.status.phase}=Active --timeout 3m",
            "",
            1,
            "",
            not_found("namespaces \"nope\""),
        ),
        (
            "wait ns/default --for=jsonpath={.status.phase}=Other --timeout 2s",
            "",
            1,
            "",
            "error: timed out waiting for the condition on namespaces/default\n".into(),
        ),
        ("wait cm/c1 --for=delete", "", 0, "", String::new()),
        (
            "rollout status deployment/coredns -n kube-system",
            "",
            0,
            "deployment \"coredns\" successfully rolled out\n",
            String::new(),
        ),
        (
            "rollout status deployment/none -n kube-system",
            "",
            1,
            "",
            not_found("deployments.apps \"none\""),
        ),
        (
            "get --raw /nope",
            "",
            1,
            "",
            not_found("the server could not find the requested resource")
                .replace(" not found\n", "\n"),
        ),
    ];
    for (words, stdin, code, stdout, stderr) in table {
        let input = lab.folder().join("stdin");
        fs::write(&input, stdin).unwrap();
        let mut command = lab.command(env!("CARGO_BIN_EXE_lab"));
        command.arg("exec").arg(lab.world()).args(["--", "kubectl"]);
        command.args(words.split(' '));
        command.args([
            "--kubeconfig",
            "kubernetes/kubeconfig",
            "--context",
            "infra",
        ]);
        command.stdin(fs::File::open(&input).unwrap());
        let said = run(command);
        assert_eq!(
            (said.code, said.stdout.as_str(), said.stderr.as_str()),
            (Some(i32::from(code)), stdout, stderr.as_str()),
            "{words}"
        );
    }
}

/// For each story, one thing that goes wrong, the criterion that it makes fail, alone, and why.
pub(crate) const FAULTS: [(&str, &str, &str); 8] = [
    ("bgp-down:10.25.11.11", "2.1/criterion-9", "bgp down"),
    (
        "cni-missing:10.25.11.14",
        "2.2/criterion-8",
        "ready-nodes some",
    ),
    ("mesh-cut:apps", "2.3/criterion-4", "mesh apart"),
    (
        "item-missing:kubernetes/apps/external-dns/cloudflare",
        "2.4/criterion-4",
        "es failing",
    ),
    ("mirror-empty:apps-02", "2.5/criterion-4", "mirror silent"),
    ("git-refuses:infra", "3.2/criterion-3", "source failing"),
    ("git-refuses:apps", "3.3/criterion-3", "source failing"),
    ("connect-down:infra", "2.4/criterion-4", "es failing"),
];

/// While it goes wrong, exactly that criterion is not met; when it is over, all are again.
fn faults(lab: &Lab) {
    let lab = copy_of(lab);
    for (fault, criterion, why) in FAULTS {
        lab.lab(["hurt", "WORLD", "fault", fault]).success();
        // Flux looks at its repository once a minute.
        lab.lab(["tick", "WORLD", "3m"]).success();
        let found = all_unmet(&lab);
        let expected = BTreeSet::from([(criterion.to_owned(), why.to_owned())]);
        assert_eq!(found, expected, "{fault}");
        lab.lab(["heal", "WORLD", fault]).success();
        lab.lab(["tick", "WORLD", "3m"]).success();
    }
    assert_eq!(all_unmet(&lab), BTreeSet::new());
}

#[test]
fn nobody_waits_for_the_mesh_before_every_cluster_is_in_it() {
    // A cluster that is lost and set up anew takes longer than a connection may take.
    let lab = Lab::project_alone();
    let plan = run(lab.alone_command(["plan", "story", "2.3", "--json"]))
        .success()
        .json();
    let needs: BTreeMap<&str, Vec<&str>> = plan["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| {
            let needs = task["needs"].as_array().unwrap().iter();
            (
                task["key"].as_str().unwrap(),
                needs.map(|key| key.as_str().unwrap()).collect(),
            )
        })
        .collect();
    for cluster in CLUSTERS {
        let connected = format!("2.3/connected[{cluster}]");
        let mut before = needs[connected.as_str()].clone();
        let mut at = 0;
        while at < before.len() {
            for key in needs.get(before[at]).into_iter().flatten() {
                if !before.contains(key) {
                    before.push(key);
                }
            }
            at += 1;
        }
        for other in CLUSTERS {
            let enabled = format!("2.3/enable[{other}]");
            assert!(
                before.contains(&enabled.as_str()),
                "{connected} does not wait for {enabled}"
            );
        }
    }
}

#[test]
fn a_host_that_takes_no_push_makes_story_3_1_fail_and_nothing_else_is_tried() {
    let lab = room();
    lab.lab(["hurt", "WORLD", "fault", "git-protected"])
        .success();
    lab.bootstrap(["run", "story", "3.1", "--yes"]).exit(1);
    let expected = BTreeSet::from([(
        "3.1/criterion-8".to_owned(),
        "published unpublished".to_owned(),
    )]);
    assert_eq!(unmet(&lab, "3.1"), expected);
    lab.lab(["heal", "WORLD", "git-protected"]).success();
    // What the program itself is just writing beside it is neither committed nor a difference.
    lab.write("kubernetes/.bootstrap-abc", "half of something");
    lab.bootstrap(["resume"]).success();
    assert_eq!(unmet(&lab, "3.1"), BTreeSet::new());
    let mut listed = lab.command("git");
    listed.args(["ls-files", "kubernetes/.bootstrap-abc"]);
    assert_eq!(run(listed).success().stdout, "");
}

#[test]
fn in_a_new_room_every_story_is_unmet_for_the_right_reason() {
    let lab = room();
    let found = all_unmet(&lab);
    let reasons: BTreeMap<String, BTreeSet<String>> =
        found
            .into_iter()
            .fold(BTreeMap::new(), |mut all, (key, why)| {
                let story = key.split('/').next().unwrap().to_owned();
                all.entry(story).or_default().insert(why);
                all
            });
    let stories: Vec<&str> = reasons.keys().map(String::as_str).collect();
    assert_eq!(stories, STORIES);
    // Nothing is rendered, and there is no way to any cluster yet: never "unknown", never a time-out.
    for (story, reasons) in &reasons {
        for reason in reasons {
            let last = |word: &str| reason.split([' ', '=', ',']).any(|part| part == word);
            assert!(
                ["absent", "no-cluster", "no-file"]
                    .iter()
                    .any(|word| last(word)),
                "{story}: {reason}"
            );
        }
    }
}

#[test]
fn law_05_a_run_to_gitops_that_is_killed_is_resumed_to_the_same_clusters() {
    let whole = room();
    whole.bootstrap(RUN).success();
    let expected = CLUSTERS.map(|cluster| picture(&whole, cluster));
    // In the middle of Helm's work, of Flux's, and of the tests.
    for line in ["440", "560", "680"] {
        let lab = room();
        let killed = Running::start(&lab, RUN, &[(CRASH_AFTER_LINE, line)]).wait();
        assert_ne!(killed.code, Some(0), "line {line}: {}", killed.stderr);
        lab.bootstrap(["resume"]).success();
        for (cluster, expected) in CLUSTERS.iter().zip(&expected) {
            let found = picture(&lab, cluster);
            let differs: Vec<&String> = expected
                .iter()
                .filter(|(name, object)| found.get(*name) != Some(*object))
                .map(|(name, _)| name)
                .chain(found.keys().filter(|name| !expected.contains_key(*name)))
                .collect();
            assert_eq!(differs, [] as [&String; 0], "{cluster}, line {line}");
        }
    }
}
