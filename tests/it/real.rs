//! Worlds with real control planes. Most of these tests need the real programs (`make real-tools`), whose folder is in `BOOTSTRAP_REAL`.

#![expect(clippy::disallowed_methods, reason = "the drill kills a keeper")]

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lab::{Lab, run};
use crate::wait::eventually_or;

const RUN: [&str; 6] = ["run", "story", "1.3", "--yes", "--output", "plain"];
const INFRA: [&str; 3] = ["10.25.11.11", "10.25.11.12", "10.25.11.13"];

/// A world with real control planes, and its processes ended when the test is over.
pub(crate) struct Real {
    pub(crate) lab: Lab,
}

impl Drop for Real {
    fn drop(&mut self) {
        // When a test fails, nothing of it is to stay.
        self.lab.lab(["end", "WORLD"]).code.unwrap_or_default();
    }
}

impl Real {
    pub(crate) fn new(more: &[&str]) -> Self {
        let tools = std::env::var("BOOTSTRAP_REAL").expect("make fidelity says where they are");
        let mut words = vec!["--real", "--tools", &tools];
        if !more.contains(&"--speed") {
            words.extend(["--speed", "20"]);
        }
        words.extend(more);
        Self {
            lab: Lab::with(&words),
        }
    }

    /// `kubectl …` in the room, with the kubeconfig that the run has written.
    pub(crate) fn kubectl(&self, cluster: &str, words: &[&str]) -> crate::lab::Outcome {
        let own = ["kubectl", "--kubeconfig", "kubernetes/kubeconfig"];
        self.exec(&[&own[..], &["--context", cluster], words].concat())
    }

    /// A command in the room.
    pub(crate) fn exec(&self, words: &[&str]) -> crate::lab::Outcome {
        let mut command = self.lab.command(env!("CARGO_BIN_EXE_lab"));
        command
            .arg("exec")
            .arg(self.lab.world())
            .arg("--")
            .args(words);
        run(command)
    }

    pub(crate) fn processes(&self) -> usize {
        marked(&self.lab.world().join("real"))
    }

    /// Waits until something is so.
    #[track_caller]
    fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        eventually_or(
            || so(self).then_some(()),
            || {
                let log = self.lab.world().join("real/log/keeper.log");
                format!("{what}\n{}", fs::read_to_string(log).unwrap_or_default())
            },
        );
    }

    /// The process of the `keeper` or of the `guard`.
    fn pid(&self, who: &str) -> String {
        let text = fs::read_to_string(self.lab.world().join("real/keeper.json")).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        state[who]["pid"].as_u64().unwrap().to_string()
    }
}

/// How many processes bear the mark of a world's folder. Not the lab's own count: it could be wrong in the same way as its end.
fn marked(folder: &Path) -> usize {
    let mark = format!("LAB_REAL={}", folder.display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("environ")).ok())
        .filter(|environ| {
            environ
                .split(|byte| *byte == 0)
                .any(|entry| entry == mark.as_bytes())
        })
        .count()
}

fn ready(nodes: &Value, name: &str) -> String {
    let items = nodes["items"].as_array().unwrap();
    let node = items
        .iter()
        .find(|node| node["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no node {name}"));
    let conditions = node["status"]["conditions"].as_array().unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready");
    ready.unwrap()["status"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs the real programs: make fidelity"]
fn two_real_control_planes_from_metal_again_and_after_losses() {
    let real = Real::new(&[]);
    real.lab.bootstrap(RUN).success();
    let status = real.lab.bootstrap(["status", "--json"]).success().json();
    let tasks = status["tasks"].as_array().unwrap();
    let criteria: Vec<&Value> = tasks
        .iter()
        .filter(|task| {
            task["key"]
                .as_str()
                .is_some_and(|key| key.starts_with("1.3/criterion-"))
        })
        .collect();
    assert_eq!(criteria.len(), 16);
    assert!(
        criteria
            .iter()
            .all(|task| task["why"].as_str().unwrap().starts_with("met:")),
        "{criteria:?}"
    );
    assert_eq!(real.lab.calls("talosctl bootstrap").len(), 2);

    // The server is the real one, and reached by the endpoint's name.
    let version = real
        .kubectl("infra", &["get", "--raw", "/version"])
        .success()
        .json();
    assert_eq!(version["gitVersion"], "v1.34.1");
    assert!(version["goVersion"].as_str().unwrap().starts_with("go"));
    let call = real.lab.calls("kubectl").pop().unwrap();
    assert_eq!(call.exit, Some(0), "the log has real calls too: {call:?}");

    // Again: nothing is sent to any machine.
    real.lab.bootstrap(RUN).success();
    for effect in ["talosctl apply-config", "talosctl bootstrap"] {
        let count = if effect.ends_with("config") { 6 } else { 2 };
        assert_eq!(real.lab.calls(effect).len(), count, "{effect}");
    }

    refusals(&real);
    losses(&real);

    let said = real.lab.lab(["end", "WORLD"]).success();
    assert!(said.stdout.contains("processes ended"), "{}", said.stdout);
    assert_eq!(real.processes(), 0);
}

/// What is not in the room is not reached, in the words of a connection that failed.
fn refusals(real: &Real) {
    let refused = |cluster: &str, words: &[&str]| {
        let outcome = real.kubectl(cluster, words).exit(1);
        outcome.stderr
    };
    let outside = refused("infra", &["apply", "-f", "https://example.com/x.yaml"]);
    assert!(outside.contains("no such host"), "{outside}");
    let absent = ["get", "nodes", "--server", "https://10.25.11.99:6443"];
    assert!(refused("infra", &absent).contains("no route to host"));
    // Each cluster has its own keys.
    let other = ["get", "nodes", "--server", "https://10.25.11.11:6443"];
    assert!(refused("apps", &other).contains("unknown authority"));

    // What the lab knows of played clusters only is not played here.
    let node = ["-n", INFRA[0], "-e", INFRA[0]];
    let snapshot = ["talosctl", "etcd", "snapshot", "db"];
    let config = ["--talosconfig", "talos/talosconfig", "--context", "infra"];
    real.exec(&[&snapshot[..], &config, &node].concat())
        .exit(64);
}

fn losses(real: &Real) {
    let nodes = ["get", "nodes", "-o", "json"];
    let before = real.kubectl("infra", &nodes).success().json();
    assert_eq!(ready(&before, "infra-02"), "False", "no CNI");

    // A machine that is wiped falls silent, and its own API server is no more.
    let wipe = |ip: &str| {
        real.lab
            .lab(["hurt", "WORLD", "node", ip, "wipe"])
            .success();
    };
    wipe(INFRA[1]);
    real.until("infra-02 is missed", |real| {
        let nodes = real.kubectl("infra", &nodes).success().json();
        ready(&nodes, "infra-02") == "Unknown"
    });
    let gone = ["get", "nodes", "--server", "https://10.25.11.12:6443"];
    let refused = real.kubectl("infra", &gone).exit(1);
    assert!(refused.stderr.contains("was refused"), "{}", refused.stderr);

    // When the last machine has lost etcd's data, they are gone, and the other cluster does not notice.
    wipe(INFRA[0]);
    wipe(INFRA[2]);
    let infra = if real.lab.show()["clusters"][0]["name"] == "infra" {
        "real/cluster-0"
    } else {
        "real/cluster-1"
    };
    real.until("the data of etcd are gone", |real| {
        !real.lab.world().join(infra).exists()
    });
    let refused = real.kubectl("infra", &["get", "nodes"]).exit(1);
    assert!(refused.stderr.contains("was refused"), "{}", refused.stderr);
    real.kubectl("apps", &["get", "nodes"]).success();
}

fn kill(pids: &[&str]) {
    std::process::Command::new("kill")
        .arg("-9")
        .args(pids)
        .status()
        .unwrap();
}

#[test]
#[ignore = "needs the real programs: make fidelity"]
fn no_process_outlives_its_keeper_its_guard_its_world_or_the_last_who_works_there() {
    let real = Real::new(&["--linger", "1"]);
    real.lab.bootstrap(RUN).success();

    // Nobody works there any more.
    real.until("all end by themselves", |real| real.processes() == 0);

    // What they knew is there again when somebody comes.
    real.kubectl("infra", &["version"]).code.unwrap_or_default();
    real.until("the cluster comes back", |real| {
        real.kubectl("infra", &["get", "nodes"]).code == Some(0)
    });

    // The keeper is killed.
    assert!(real.processes() > 6);
    kill(&[&real.pid("keeper")]);
    real.until("all end with their keeper", |real| real.processes() == 0);

    // The keeper and its guard are killed at once.
    real.kubectl("infra", &["version"]).code.unwrap_or_default();
    real.until("the clusters are back", |real| real.processes() > 6);
    kill(&[&real.pid("guard"), &real.pid("keeper")]);
    real.until("all end with both", |real| real.processes() == 0);

    // The world is removed.
    real.kubectl("infra", &["version"]).code.unwrap_or_default();
    real.until("the clusters are back", |real| real.processes() > 6);
    fs::remove_dir_all(real.lab.world()).unwrap();
    let folder = real.lab.world().join("real");
    real.until("all end with the world", |_| marked(&folder) == 0);
    assert!(!folder.exists(), "nobody makes the folder again");
}

#[test]
#[ignore = "needs the real programs: make fidelity"]
fn a_command_keeps_its_exit_code_and_the_end_ends_its_keeper() {
    let real = Real::new(&[]);
    real.exec(&["sh", "-c", "exit 7"]).exit(7);
    assert!(real.processes() > 0, "the keeper, and what is outside");
    let servers = &real.lab.show()["real"]["clusters"];
    assert!(
        servers.as_object().is_none_or(serde_json::Map::is_empty),
        "no cluster yet: {servers}"
    );
    real.lab.lab(["end", "WORLD"]).success();
    assert_eq!(real.processes(), 0);
}

#[test]
fn a_real_world_without_real_programs_is_refused_with_what_to_do() {
    let lab = Lab::without_world();
    let said = lab
        .lab(["new", "WORLD", "--real", "--tools", "nowhere"])
        .exit(1);
    assert!(said.stderr.contains("make real-tools"), "{}", said.stderr);
    assert!(!lab.world().exists());
}

#[test]
fn a_played_world_has_nothing_to_end() {
    let lab = Lab::new();
    let said = lab.lab(["end", "WORLD"]).success();
    assert!(said.stdout.contains("nothing runs"), "{}", said.stdout);
    assert_eq!(lab.show()["real"], Value::Null);
}
