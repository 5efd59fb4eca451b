//! Epics 2 and 3 in worlds with real control planes: beside the played ones, killed and resumed, hurt, and after losses. Needs the real programs
//! (`make real-tools`), whose folder is in `BOOTSTRAP_REAL`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bootstrap::journal::CRASH_AFTER_LINE;
use serde_json::Value;

use crate::drill::{Chance, Running, lines, marked, runs};
use crate::gitops_judges::{applied, judges, objects, yaml};
use crate::gitops_lab::{CRITERIA, FAULTS, RUN, all_unmet, met, publish, room, unmet};
use crate::lab::{Lab, run};
use crate::real::Real;
use crate::wait::eventually;

const CLUSTERS: [&str; 2] = ["infra", "apps"];

/// Steps that ask Flux to look at once, unless it has applied already. Whether it was faster is a matter of milliseconds, so they may be `changed`
/// on one back end and `unchanged` on the other; what they say of the world in the end is the same.
const HURRIED: [&str; 10] = [
    "2.1/flux",
    "2.2/flux",
    "2.3/enable",
    "2.4/flux",
    "2.5/flux",
    "3.2/ready",
    "3.2/store",
    "3.3/platform",
    "3.3/ready",
    "3.3/store",
];

/// Steps where the first cluster makes what the second one finds: the file that both have, or that the other has no secrets yet to compare with.
/// Which is first is a matter of milliseconds, so only that both are done is compared.
const FIRST_COME: [&str; 2] = ["1.2/apart", "1.3/kubeconfig-file"];

fn room_of_real_clusters() -> Real {
    // API servers and Flux need real seconds.
    let real = Real::new(&["--speed", "6"]);
    publish(&real.lab);
    real
}

/// How each task of the last run ended, and in which state its effect was seen; without how long that took, and whether it was there at the first
/// look or at a later one.
fn outcomes(lab: &Lab) -> BTreeMap<String, (String, String)> {
    let status = lab.bootstrap(["status", "--json"]).success().json();
    let tasks = status["tasks"].as_array().unwrap();
    tasks
        .iter()
        .map(|task| {
            let key = task["key"].as_str().unwrap().to_owned();
            let why = task["why"].as_str().unwrap_or_default();
            let why = why.strip_prefix("already so: ").unwrap_or(why);
            let why = why.split(", after ").next().unwrap();
            let step = key.split('[').next().unwrap();
            let ended = task["status"].as_str().unwrap();
            let (ended, why) = match ended {
                "changed" | "unchanged" if HURRIED.contains(&step) => ("applied", why),
                "changed" | "unchanged" if FIRST_COME.contains(&step) => ("done", ""),
                other => (other, why),
            };
            (key, (ended.to_owned(), why.to_owned()))
        })
        .collect()
}

/// Step by step, both back ends have come to the same.
#[track_caller]
fn same_outcomes(real: &Lab, played: &Lab) {
    let (real, played) = (outcomes(real), outcomes(played));
    assert!(real.len() > 250, "{}", real.len());
    let names = |all: &BTreeMap<String, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&real), names(&played));
    let differs: Vec<String> = real
        .iter()
        .filter(|(key, outcome)| played[*key] != **outcome)
        .map(|(key, outcome)| format!("{key}: real {outcome:?}, played {:?}", played[key]))
        .collect();
    assert_eq!(differs, [] as [&str; 0]);
}

/// Calls that change something, and were carried out.
fn writes(lab: &Lab) -> Vec<String> {
    let acts = [
        "helm upgrade",
        "kubectl apply",
        "flux bootstrap",
        "talosctl apply-config",
        "talosctl bootstrap",
        "op item create",
    ];
    let calls = lab.calls("");
    calls
        .iter()
        .filter(|call| call.exit == Some(0))
        .map(crate::lab::Call::line)
        .filter(|line| acts.iter().any(|act| line.starts_with(act)))
        .collect()
}

/// Whether an object has all that was asked of it; the API server and controllers may have put more into it.
fn contains(found: &Value, asked: &Value) -> bool {
    match (found, asked) {
        (Value::Object(found), Value::Object(asked)) => asked
            .iter()
            .all(|(name, asked)| found.get(name).is_some_and(|found| contains(found, asked))),
        (Value::Array(found), Value::Array(asked)) => {
            found.len() == asked.len()
                && found
                    .iter()
                    .zip(asked)
                    .all(|(found, asked)| contains(found, asked))
        }
        (found, asked) => found == asked,
    }
}

/// In a cluster is what the real kustomize and the real substitution make of the tree: whoever applied it built the same.
fn holds_the_tree(lab: &Lab, cluster: &str) {
    let (judges, _) = judges().expect("make fidelity says where they are");
    let asked: Vec<Value> = applied(lab, &judges, cluster)
        .into_values()
        .flatten()
        .collect();
    let word = |object: &Value, path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let kinds: BTreeSet<String> = asked
        .iter()
        .map(|object| {
            let kind = word(object, "/kind").to_lowercase();
            let plural = match kind.strip_suffix('y') {
                Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
                _ if kind.ends_with('s') => format!("{kind}es"),
                _ => format!("{kind}s"),
            };
            let api = word(object, "/apiVersion");
            match api.split_once('/') {
                Some((group, _)) => format!("{plural}.{group}"),
                None => plural,
            }
        })
        .collect();
    let kinds = kinds.into_iter().collect::<Vec<_>>().join(",");
    let mut get = lab.command(env!("CARGO_BIN_EXE_lab"));
    get.arg("exec")
        .arg(lab.world())
        .args(["--", "kubectl", "get", &kinds]);
    get.args(["-A", "-o", "json", "--kubeconfig", "kubernetes/kubeconfig"]);
    let all = run({
        get.args(["--context", cluster]);
        get
    })
    .success()
    .json();
    let name = |object: &Value| {
        (
            word(object, "/kind"),
            word(object, "/metadata/namespace"),
            word(object, "/metadata/name"),
        )
    };
    let found: BTreeMap<_, &Value> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| (name(object), object))
        .collect();
    for asked in &asked {
        let Some(found) = found.get(&name(asked)) else {
            panic!("{cluster} has no {:?}", name(asked));
        };
        assert!(
            contains(found, asked),
            "{cluster}\n-- asked\n{asked:#}\n-- found\n{found:#}"
        );
    }
}

#[test]
#[ignore = "needs the real programs: make fidelity"]
fn from_metal_to_gitops_on_both_back_ends_with_the_same_outcomes_again_hurt_and_after_losses() {
    let real = room_of_real_clusters();
    let played = room();
    for turn in ["from metal", "again"] {
        let before = writes(&real.lab).len();
        real.lab.bootstrap(RUN).success();
        played.bootstrap(RUN).success();
        assert_eq!(met(&real.lab), CRITERIA, "{turn}");
        same_outcomes(&real.lab, &played);
        if turn == "again" {
            assert_eq!(writes(&real.lab).split_off(before), [] as [&str; 0]);
        }
    }
    // What the room has no place for is refused by the real definitions.
    let log = fs::read_to_string(real.lab.world().join("real/log/keeper.log")).unwrap();
    assert!(!log.contains(" 422 "), "{log}");
    for lab in [&real.lab, &played] {
        for cluster in CLUSTERS {
            holds_the_tree(lab, cluster);
        }
    }
    faults(&real);
    losses(&real);
    real.lab.lab(["end", "WORLD"]).success();
    assert_eq!(real.processes(), 0);
}

/// Flux looks at its repository once a minute, in real time; here at once.
fn look_at_the_repository(real: &Real, cluster: &str) {
    let words = [
        "flux",
        "reconcile",
        "source",
        "git",
        "flux-system",
        "-n",
        "flux-system",
        "--timeout",
        "30s",
        "--kubeconfig",
        "kubernetes/kubeconfig",
        "--context",
        cluster,
    ];
    // How it ends is what the fault is about.
    let said = real.exec(&words);
    assert!(matches!(said.code, Some(0 | 1)), "{}", said.stderr);
}

/// What goes wrong reaches the real clusters, and makes exactly the criteria fail that it does in a played world.
fn faults(real: &Real) {
    for (fault, criterion, why) in FAULTS {
        let story = criterion.split('/').next().unwrap();
        let look = || {
            if let Some(cluster) = fault.strip_prefix("git-refuses:") {
                look_at_the_repository(real, cluster);
            }
        };
        real.lab.lab(["hurt", "WORLD", "fault", fault]).success();
        look();
        eventually(fault, || {
            (!unmet(&real.lab, story).is_empty()).then_some(())
        });
        let expected = BTreeSet::from([(criterion.to_owned(), why.to_owned())]);
        assert_eq!(all_unmet(&real.lab), expected, "{fault}");
        real.lab.lab(["heal", "WORLD", fault]).success();
        look();
        eventually("the end of it", || {
            unmet(&real.lab, story).is_empty().then_some(())
        });
    }
    assert_eq!(all_unmet(&real.lab), BTreeSet::new());
    // A registry without the chart.
    let spegel = [
        "helm",
        "show",
        "chart",
        "oci://ghcr.io/spegel-org/helm-charts/spegel",
        "--version",
        "0.4.0",
    ];
    real.exec(&spegel).success();
    real.lab
        .lab(["hurt", "WORLD", "fault", "chart-missing:spegel"])
        .success();
    eventually("the chart is missed", || {
        real.exec(&spegel)
            .stderr
            .contains("not found")
            .then_some(())
    });
    real.lab
        .lab(["heal", "WORLD", "chart-missing:spegel"])
        .success();
    eventually("the chart is back", || {
        (real.exec(&spegel).code == Some(0)).then_some(())
    });
    // What cannot be played here is not taken and forgotten.
    real.lab
        .lab(["hurt", "WORLD", "fault", "image-missing:coredns"])
        .exit(1)
        .says(&["kwok starts every pod"]);
}

/// A machine that was wiped, and a cluster whose every machine was: the same run brings them back to where they were.
fn losses(real: &Real) {
    let installs = |cluster: &str| {
        let calls = real.lab.calls("flux bootstrap git");
        let of = calls
            .iter()
            .filter(|call| call.value("--context") == Some(cluster));
        of.map(|call| call.exit).collect::<Vec<_>>()
    };
    real.lab
        .lab(["hurt", "WORLD", "node", "10.25.11.12", "wipe"])
        .success();
    real.lab.bootstrap(RUN).success();
    assert_eq!(met(&real.lab), CRITERIA);
    assert_eq!(real.lab.calls("talosctl apply-config").len(), 7);
    real.lab
        .lab(["hurt", "WORLD", "cluster", "apps", "wipe"])
        .success();
    real.lab.bootstrap(RUN).success();
    assert_eq!(met(&real.lab), CRITERIA);
    assert_eq!(real.lab.calls("talosctl apply-config").len(), 10);
    holds_the_tree(&real.lab, "apps");
    // Flux found all that it needs: it was installed in one attempt, once more in the cluster that was lost.
    assert_eq!(installs("infra"), [Some(0)]);
    assert_eq!(installs("apps"), [Some(0), Some(0)]);
}

#[test]
#[ignore = "needs the real programs: make fidelity"]
#[expect(clippy::print_stderr, reason = "the seed is what it is about")]
fn law_05_a_run_on_real_clusters_that_is_killed_and_resumed_ends_in_the_same_world_and_does_nothing_twice()
 {
    // Epics 2 and 3 are in about this part of the journal; `BOOTSTRAP_SEED` chooses other lines.
    const PART: (usize, usize) = (330, 690);
    const KILLS: usize = 5;
    let seed = std::env::var("BOOTSTRAP_SEED").map_or(1, |text| text.parse().unwrap());
    let mut chance = Chance::new(seed);
    let step = (PART.1 - PART.0) / KILLS;
    let chosen: Vec<usize> = (0..KILLS)
        .map(|turn| PART.0 + turn * step + chance.between(0, step - 1))
        .collect();
    eprintln!("seed {seed}: killed at the lines {chosen:?} of the journal");
    let real = room_of_real_clusters();
    let mut words = &RUN[..];
    let mut kills = 0;
    for line in &chosen {
        let crash = line.to_string();
        let before = lines(&real.lab);
        if before >= *line {
            // What the last end has written has gone beyond it.
            continue;
        }
        let killed = Running::start(
            &real.lab,
            words.iter().copied(),
            &[(CRASH_AFTER_LINE, &crash)],
        )
        .wait();
        assert_eq!(
            killed.code,
            crate::drill::KILLED,
            "line {line}: {}{}",
            killed.stdout,
            killed.stderr
        );
        kills += 1;
        words = &["resume"];
    }
    assert!(kills > 2, "{kills} kills");
    real.lab.bootstrap(["resume"]).success();
    assert_eq!(met(&real.lab), CRITERIA);
    assert_eq!(all_unmet(&real.lab), BTreeSet::new());
    for cluster in CLUSTERS {
        holds_the_tree(&real.lab, cluster);
    }
    // Whatever is carried out once was; a release may be attempted again after its call was killed, and not after it was carried out.
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for line in writes(&real.lab) {
        let words: Vec<&str> = line.split(' ').collect();
        let once = [
            "helm upgrade",
            "flux bootstrap",
            "talosctl",
            "op item create",
        ];
        if once.iter().any(|act| line.starts_with(act)) {
            *count.entry(words.join(" ")).or_default() += 1;
        }
    }
    let twice: Vec<(&String, &usize)> = count.iter().filter(|(_, count)| **count > 1).collect();
    assert_eq!(twice, [] as [(&String, &usize); 0], "seed {seed}");
    assert_eq!(real.lab.calls("talosctl bootstrap").len(), 2);
    for name in runs(&real.lab.project()) {
        assert_eq!(marked(&name), [], "seed {seed}");
    }
    real.lab.lab(["end", "WORLD"]).success();
    assert_eq!(real.processes(), 0);
}

#[test]
#[ignore = "needs the real programs: make fidelity"]
fn a_real_api_server_takes_every_object_of_the_tree_with_the_published_definitions_and_no_wrong_field()
 {
    let (judges, schemas) = judges().expect("make fidelity says where they are");
    let real = Real::new(&[]);
    real.lab
        .bootstrap(["run", "story", "1.3", "--yes"])
        .success();
    real.lab.bootstrap(["render", "kubernetes"]).success();
    let mut published: Vec<Value> = Vec::new();
    for entry in fs::read_dir(schemas.join("definitions")).unwrap() {
        published.extend(yaml(&fs::read_to_string(entry.unwrap().path()).unwrap()));
    }
    published.retain(|object| object["kind"] == "CustomResourceDefinition");
    assert!(published.len() > 40, "{}", published.len());
    for cluster in CLUSTERS {
        // A dry run makes neither namespaces nor definitions for what comes after them.
        let objects = objects(&real.lab, &judges, cluster);
        let namespaces: Vec<Value> = objects
            .iter()
            .filter(|object| object["kind"] == "Namespace")
            .cloned()
            .chain(yaml(
                "apiVersion: v1\nkind: Namespace\nmetadata: { name: flux-system }\n",
            ))
            .collect();
        assert!(namespaces.len() > 3);
        let first: Vec<Value> = namespaces.into_iter().chain(published.clone()).collect();
        apply(&real, cluster, &first, &[]).success();
        real.kubectl(
            cluster,
            &[
                "wait",
                "crd",
                "--all",
                "--for=condition=Established",
                "--timeout=60s",
            ],
        )
        .success();
        let dry = ["--dry-run=server", "--validate=strict"];
        let said = apply(&real, cluster, &objects, &dry).success();
        let taken = said
            .stdout
            .lines()
            .filter(|line| line.ends_with("serverside-applied (server dry run)"));
        assert_eq!(taken.count(), objects.len(), "{}", said.stdout);
        assert!(objects.len() > 40, "{}", objects.len());

        // It looks at all of them: of each kind one with a field that nobody knows is refused.
        let mut kinds = BTreeSet::new();
        for object in &objects {
            if !kinds.insert(object["kind"].to_string()) {
                continue;
            }
            let mut wrong = object.clone();
            let place = if wrong.get("spec").is_some_and(Value::is_object) {
                "/spec"
            } else {
                ""
            };
            wrong.pointer_mut(place).unwrap()["nobodyKnowsThis"] = Value::from(1);
            let refused = apply(&real, cluster, &[wrong], &dry).exit(1);
            assert!(
                refused.stderr.contains("nobodyKnowsThis"),
                "{}",
                refused.stderr
            );
        }
        assert!(kinds.len() > 12, "{kinds:?}");
    }
    real.lab.lab(["end", "WORLD"]).success();
}

/// `kubectl apply --server-side` of objects.
fn apply(real: &Real, cluster: &str, objects: &[Value], more: &[&str]) -> crate::lab::Outcome {
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    real.lab.write("objects.yaml", &text.join("\n---\n"));
    let words = [
        "apply",
        "--server-side",
        "--field-manager",
        "judge",
        "-f",
        "objects.yaml",
    ];
    real.kubectl(cluster, &[&words[..], more].concat())
}
