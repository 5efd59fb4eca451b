use std::collections::BTreeMap;

use super::{Bootstrap, SOURCE, TREE};
use crate::answer::Answer;
use crate::cobra::{Tool, parse};
use crate::flux::reconcile;
use crate::kubernetes::Store as _;
use crate::kubernetes::tests::Cluster;
use crate::kubernetes::value::{is_true, text};
use crate::remote::Remote;
use crate::room::Reply;

const LINE: &str = "bootstrap git --url https://example.org/tree --branch main --path kubernetes/clusters/one --token-auth --username git --registry ghcr.io/fluxcd --interval 1m --author-name bootstrap --author-email bootstrap@example.org --silent --timeout 10m";

/// A cluster with a network, and a remote that holds one file.
fn room(folder: &std::path::Path) -> Cluster {
    let remote = Remote::new(folder.join("remote.git"));
    remote.create().unwrap();
    let mut cluster = Cluster::with_network("one", 1);
    cluster.outside.remote = remote;
    push(
        &cluster,
        "kubernetes/clusters/one/made.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: made, namespace: default }\n",
    );
    cluster
}

fn push(cluster: &Cluster, path: &str, text: &str) -> String {
    let files = BTreeMap::from([(path.to_string(), text.to_string())]);
    let author = ("tester", "tester@example.org");
    cluster
        .outside
        .remote
        .commit("main", &files, "test", author)
        .unwrap()
}

/// Lets a call go on until it ends, or until so many steps are done; returns what it said, and how it ended.
fn play(
    cluster: &mut Cluster,
    mut step: impl FnMut(&mut Cluster) -> Reply,
    steps: usize,
) -> (String, Option<u8>) {
    let mut said = String::new();
    for _ in 0..steps {
        match step(cluster) {
            Reply::Done(Answer { stderr, code, .. }) => return (said + &stderr, Some(code)),
            Reply::Tell(text, wait) => {
                said += &text;
                cluster.after(wait);
            }
            Reply::Again(wait) => cluster.after(wait),
            Reply::After(..) | Reply::Hang => panic!("a call of flux does not end so"),
        }
    }
    (said, None)
}

fn bootstrap(cluster: &mut Cluster, line: &str, token: &str, steps: usize) -> (String, Option<u8>) {
    let words: Vec<String> = line.split_whitespace().map(ToString::to_string).collect();
    let mut call = Bootstrap::new(&parse(Tool::Flux, &words).unwrap(), token.to_string());
    play(
        cluster,
        |cluster| call.step(&mut cluster.objects, &mut cluster.outside),
        steps,
    )
}

/// The text without what differs from run to run.
fn plain(text: &str) -> String {
    let hex = |word: &&str| word.len() == 44 && word.starts_with("(\"");
    let lines = text.lines().map(|line| {
        line.split(' ')
            .map(|word| if hex(&word) { "(\"…\")" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bootstrap_pushes_two_commits_and_ends_when_all_is_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = room(folder.path());
    let (said, code) = bootstrap(&mut cluster, LINE, "git-token", 200);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        plain(&said),
        "► cloning branch \"main\" from Git repository \"https://example.org/tree\"\n\
         ✔ cloned repository\n\
         ► generating component manifests\n\
         ✔ generated component manifests\n\
         ✔ committed component manifests to \"main\" (\"…\")\n\
         ► pushing component manifests to \"https://example.org/tree\"\n\
         ► installing components in \"flux-system\" namespace\n\
         ✔ installed components\n\
         ✔ reconciled components\n\
         ► determining if source secret \"flux-system/flux-system\" exists\n\
         ► generating source secret\n\
         ► applying source secret \"flux-system/flux-system\"\n\
         ✔ reconciled source secret\n\
         ► generating sync manifests\n\
         ✔ generated sync manifests\n\
         ✔ committed sync manifests to \"main\" (\"…\")\n\
         ► pushing sync manifests to \"https://example.org/tree\"\n\
         ► applying sync manifests\n\
         ✔ reconciled sync configuration\n\
         ◎ waiting for GitRepository \"flux-system/flux-system\" to be reconciled\n\
         ✔ GitRepository reconciled successfully\n\
         ◎ waiting for Kustomization \"flux-system/flux-system\" to be reconciled\n\
         ✔ Kustomization reconciled successfully\n\
         ► confirming components are healthy\n\
         ✔ helm-controller: deployment ready\n\
         ✔ kustomize-controller: deployment ready\n\
         ✔ notification-controller: deployment ready\n\
         ✔ source-controller: deployment ready\n\
         ✔ all components are healthy"
    );
    let tree = cluster.get(TREE, "flux-system", "flux-system");
    assert!(is_true(tree, "Ready"), "{:#}", tree["status"]);
    assert_eq!(tree["spec"]["path"], "./kubernetes/clusters/one");
    assert!(
        cluster
            .objects
            .get("ConfigMap", "default", "made")
            .is_some()
    );
    let head = cluster.outside.remote.head("main").unwrap();
    let files = cluster
        .outside
        .remote
        .files(&head, "kubernetes/clusters/one/flux-system")
        .unwrap();
    let names: Vec<&str> = files
        .keys()
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    assert_eq!(
        names,
        [
            "gotk-components.yaml",
            "gotk-sync.yaml",
            "kustomization.yaml"
        ]
    );
    let source = cluster.get(SOURCE, "flux-system", "flux-system");
    assert_eq!(text(source, "/spec/url"), "https://example.org/tree");
    assert_eq!(text(source, "/spec/interval"), "1m0s");
}

#[test]
fn a_second_bootstrap_pushes_nothing_and_restarts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = room(folder.path());
    bootstrap(&mut cluster, LINE, "git-token", 200);
    let head = cluster.outside.remote.head("main");
    let generation = |cluster: &Cluster| {
        cluster.get("Deployment.apps", "flux-system", "source-controller")["metadata"]["generation"]
            .clone()
    };
    let before = generation(&cluster);
    let (said, code) = bootstrap(&mut cluster, LINE, "git-token", 200);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("✔ component manifests are up to date\n✔ reconciled components\n"),
        "{said}"
    );
    assert!(said.contains("✔ sync manifests are up to date\n"), "{said}");
    assert_eq!(cluster.outside.remote.head("main"), head);
    assert_eq!(generation(&cluster), before);
}

#[test]
fn a_bootstrap_that_is_killed_anywhere_goes_on_when_it_is_said_again() {
    for steps in 1..9 {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = room(folder.path());
        assert_eq!(bootstrap(&mut cluster, LINE, "git-token", steps).1, None);
        let (said, code) = bootstrap(&mut cluster, LINE, "git-token", 200);
        assert_eq!(code, Some(0), "after {steps} steps: {said}");
        let tree = cluster.get(TREE, "flux-system", "flux-system");
        assert!(is_true(tree, "Ready"));
    }
}

#[test]
fn a_wrong_token_is_told_and_nothing_is_pushed_or_applied() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = room(folder.path());
    let head = cluster.outside.remote.head("main");
    let (said, code) = bootstrap(&mut cluster, LINE, "wrong", 200);
    assert_eq!(code, Some(1));
    assert!(said.ends_with("✗ failed to clone repository: unable to clone 'https://example.org/tree': authentication required: Invalid username or token.\n"), "{said}");
    assert_eq!(said.matches("⚠️  clone failure: ").count(), 2);
    assert_eq!(cluster.outside.remote.head("main"), head);
    assert!(
        cluster
            .objects
            .get("Namespace", "", "flux-system")
            .is_none()
    );
}

#[test]
fn a_cluster_that_follows_another_folder_is_refused_after_the_components_were_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = room(folder.path());
    bootstrap(&mut cluster, LINE, "git-token", 200);
    let other = LINE.replace("clusters/one", "clusters/two");
    let (said, code) = bootstrap(&mut cluster, &other, "git-token", 200);
    assert_eq!(code, Some(1));
    assert!(said.ends_with("✗ sync path configuration (\"kubernetes/clusters/two\") would overwrite path (\"./kubernetes/clusters/one\") of existing Kustomization\n"), "{said}");
    // The real one pushes first, too.
    assert!(said.contains("✔ committed component manifests"));
}

#[test]
fn who_pushes_in_between_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = room(folder.path());
    let words: Vec<String> = LINE.split_whitespace().map(ToString::to_string).collect();
    let mut call = Bootstrap::new(&parse(Tool::Flux, &words).unwrap(), "git-token".to_string());
    let mut count = 0;
    let (said, code) = play(
        &mut cluster,
        |cluster| {
            count += 1;
            if count == 2 {
                push(cluster, "other", "x");
            }
            call.step(&mut cluster.objects, &mut cluster.outside)
        },
        200,
    );
    assert_eq!(code, Some(1));
    assert!(
        said.ends_with("✗ failed to push manifests: non-fast-forward update: refs/heads/main\n"),
        "{said}"
    );
}

#[test]
fn reconcile_waits_until_the_source_has_fetched_what_was_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = room(folder.path());
    bootstrap(&mut cluster, LINE, "git-token", 200);
    let commit = push(
        &cluster,
        "kubernetes/clusters/one/more.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: more, namespace: default }\n",
    );
    let mut wait = reconcile::Waiting::new("flux-system", "flux-system", 120_000);
    let (said, code) = play(&mut cluster, |cluster| wait.look(&mut cluster.objects), 200);
    assert_eq!(code, Some(0));
    assert_eq!(
        said,
        format!(
            "► annotating GitRepository flux-system in flux-system namespace\n✔ GitRepository annotated\n◎ waiting for GitRepository reconciliation\n✔ fetched revision main@sha1:{commit}\n"
        )
    );
    let mut wait = reconcile::Waiting::new("flux-system", "nope", 120_000);
    let (said, code) = play(&mut cluster, |cluster| wait.look(&mut cluster.objects), 200);
    assert_eq!(
        (said.as_str(), code),
        (
            "✗ gitrepositories.source.toolkit.fluxcd.io \"nope\" not found\n",
            Some(1)
        )
    );
}

#[test]
fn reconcile_of_a_source_that_fails_says_only_that_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = room(folder.path());
    bootstrap(&mut cluster, LINE, "git-token", 200);
    cluster.outside.git.url = "https://example.org/elsewhere".to_string();
    let mut wait = reconcile::Waiting::new("flux-system", "flux-system", 120_000);
    let (said, code) = play(&mut cluster, |cluster| wait.look(&mut cluster.objects), 200);
    assert_eq!(code, Some(1));
    assert!(said.ends_with("✗ context deadline exceeded\n"), "{said}");
}
