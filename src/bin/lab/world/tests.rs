//! The model by itself: no files, no clock.

use serde_json::json;

use super::{Config, Etcd, NewWorld, Phase, Port, Snapshot, World};
use crate::facts::Facts;
use crate::kubernetes::Store as _;
use crate::site::Site;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const FIRST: [&str; 3] = ["10.25.11.11", "10.25.11.12", "10.25.11.13"];

fn world(faults: &[&str]) -> World {
    let new = NewWorld {
        name: "test".to_string(),
        seed: 7,
        speed: 20.0,
        created_ms: 1_790_000_000_000,
        site: Site::built_in(),
        faults: faults.iter().map(ToString::to_string).collect(),
    };
    World::build(new).unwrap()
}

fn configure(world: &mut World, ip: &str, hostname: &str) {
    let facts = Facts {
        kind: "controlplane".to_string(),
        hostname: Some(hostname.to_string()),
        cluster: "infra".to_string(),
        cluster_id: "infra-id".to_string(),
        pod_subnets: vec!["10.244.0.0/16".to_string()],
        ..Facts::default()
    };
    let now = world.now_ms;
    let node = world.nodes.get_mut(ip).unwrap();
    node.config = Some(Config {
        text: hostname.to_string(),
        facts,
        at_ms: now,
    });
    node.phase = Phase::Lingering {
        until: now + 5 * SECOND,
    };
}

fn three_up(world: &mut World) {
    for (index, ip) in FIRST.iter().enumerate() {
        configure(world, ip, &format!("infra-0{}", index + 1));
    }
    let to = world.now_ms + 10 * MINUTE;
    world.advance(to);
}

fn after(world: &mut World, time: u64) {
    let to = world.now_ms + time;
    world.advance(to);
}

#[test]
fn a_node_goes_from_maintenance_through_a_closed_port_to_apid() {
    let mut world = world(&[]);
    configure(&mut world, FIRST[0], "infra-01");
    assert_eq!(
        world.nodes[FIRST[0]].port(),
        Port::Maintenance,
        "the trap: it still answers"
    );
    let boot = world.nodes[FIRST[0]].boot_id.clone();
    after(&mut world, 6 * SECOND);
    assert_eq!(world.nodes[FIRST[0]].port(), Port::Closed);
    after(&mut world, 10 * MINUTE);
    assert_eq!(world.nodes[FIRST[0]].port(), Port::Apid);
    assert_ne!(world.nodes[FIRST[0]].boot_id, boot);
    assert_eq!(
        world.stage(FIRST[0]).0,
        "booting",
        "a control plane waits for etcd"
    );
}

#[test]
fn nothing_happens_to_etcd_until_somebody_bootstraps() {
    let mut world = world(&[]);
    three_up(&mut world);
    after(&mut world, 60 * MINUTE);
    assert!(world.clusters.is_empty());
    assert!(
        FIRST
            .iter()
            .all(|ip| matches!(world.nodes[*ip].etcd, Etcd::Waiting { .. }))
    );
}

#[test]
fn members_join_one_learner_at_a_time() {
    let mut world = world(&[]);
    three_up(&mut world);
    world.bootstrap(FIRST[0], None);
    let mut most = 0;
    for _ in 0..600 {
        after(&mut world, SECOND);
        if let Some(cluster) = world.clusters.first() {
            most = most.max(
                cluster
                    .members
                    .iter()
                    .filter(|member| member.learner)
                    .count(),
            );
        }
    }
    assert_eq!(most, 1);
    assert_eq!(world.clusters.len(), 1);
    assert!(
        FIRST
            .iter()
            .all(|ip| world.etcd_healthy(ip) && world.api_answers(ip))
    );
    let cidrs: Vec<&str> = world.clusters[0]
        .kube_nodes
        .iter()
        .map(|node| node.pod_cidr.as_str())
        .collect();
    assert_eq!(cidrs, ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]);
    assert!(world.split_brains().is_empty());
}

#[test]
fn one_long_step_is_as_many_short_ones() {
    let mut long = world(&[]);
    three_up(&mut long);
    long.bootstrap(FIRST[0], None);
    let mut short = long.clone();
    after(&mut long, 20 * MINUTE);
    for _ in 0..1_200 {
        after(&mut short, SECOND);
    }
    assert_eq!(long.show(), short.show());
}

#[test]
fn a_second_bootstrap_on_an_empty_node_splits_the_brain() {
    let mut world = world(&[]);
    three_up(&mut world);
    world.bootstrap(FIRST[0], None);
    world.bootstrap(FIRST[1], None);
    after(&mut world, 15 * MINUTE);
    assert_eq!(world.split_brains(), ["infra", "infra"][..1].to_vec());
    assert_eq!(world.bootstraps.len(), 2);
}

#[test]
fn a_wiped_member_is_dead_until_it_comes_back_under_its_name() {
    let mut world = world(&[]);
    three_up(&mut world);
    world.bootstrap(FIRST[0], None);
    after(&mut world, 15 * MINUTE);
    let old = world.member(FIRST[2]).unwrap().id.clone();
    world.wipe(FIRST[2]).unwrap();
    assert!(!world.etcd_healthy(FIRST[2]));
    assert!(world.has_quorum(0));
    assert_eq!(world.clusters[0].members.len(), 3);
    configure(&mut world, FIRST[2], "infra-03");
    after(&mut world, 20 * MINUTE);
    assert_eq!(world.clusters[0].members.len(), 3);
    assert!(world.etcd_healthy(FIRST[2]));
    assert_ne!(world.member(FIRST[2]).unwrap().id, old);
}

fn has_map(world: &mut World, cluster: usize) -> bool {
    let objects = world.objects(cluster);
    objects.get("ConfigMap", "default", "mine").is_some()
}

fn ready_of(world: &mut World, cluster: usize) -> Vec<String> {
    let nodes = world.objects(cluster).list("Node");
    nodes
        .iter()
        .map(|node| {
            let ready = crate::kubernetes::value::condition(node, "Ready").unwrap();
            format!("{} {}", node["metadata"]["name"], ready["status"]).replace('"', "")
        })
        .collect()
}

/// A world with one cluster, in whose Kubernetes somebody has made an object.
fn with_an_object() -> World {
    let mut world = world(&[]);
    three_up(&mut world);
    world.bootstrap(FIRST[0], None);
    after(&mut world, 15 * MINUTE);
    world.settle();
    world.through_api(0, |objects, _| {
        objects.write(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "mine", "namespace": "default" } }));
    });
    world
}

#[test]
fn what_kubernetes_knows_is_lost_with_etcd_and_comes_back_with_a_snapshot() {
    let mut world = with_an_object();
    assert!(has_map(&mut world, 0));
    let saved = Snapshot::read(&world.snapshot(0).write()).unwrap().0;
    for ip in FIRST {
        world.wipe(ip).unwrap();
    }
    three_up(&mut world);
    let mut restored = world.clone();
    for (world, from) in [(&mut world, None), (&mut restored, Some(saved))] {
        world.bootstrap(FIRST[0], from);
        after(world, 20 * MINUTE);
        world.settle();
    }
    assert!(!has_map(&mut world, 1), "a new etcd is empty");
    assert!(has_map(&mut restored, 1));
    assert_eq!(ready_of(&mut restored, 1).len(), 3);
}

#[test]
fn a_machine_that_is_wiped_is_a_node_that_kubernetes_hears_nothing_of() {
    let mut world = with_an_object();
    assert_eq!(
        ready_of(&mut world, 0),
        ["infra-01 False", "infra-02 False", "infra-03 False"],
        "without a network plugin"
    );
    world.wipe(FIRST[2]).unwrap();
    world.settle();
    after(&mut world, 2 * MINUTE);
    world.settle();
    assert_eq!(
        ready_of(&mut world, 0),
        ["infra-01 False", "infra-02 False", "infra-03 Unknown"]
    );
    configure(&mut world, FIRST[2], "infra-03");
    after(&mut world, 20 * MINUTE);
    world.settle();
    assert_eq!(ready_of(&mut world, 0)[2], "infra-03 False");
}

#[test]
fn while_no_api_server_runs_nothing_happens_in_kubernetes() {
    let mut world = with_an_object();
    world.switch_off(FIRST[0], None).unwrap();
    world.switch_off(FIRST[1], None).unwrap();
    world.settle();
    let before = world.objects(0).clone();
    after(&mut world, 30 * MINUTE);
    world.settle();
    assert_eq!(*world.objects(0), before);
}

#[test]
fn without_most_of_its_members_etcd_is_not_healthy() {
    let mut world = world(&[]);
    three_up(&mut world);
    world.bootstrap(FIRST[0], None);
    after(&mut world, 15 * MINUTE);
    world.switch_off(FIRST[1], None).unwrap();
    world.switch_off(FIRST[2], None).unwrap();
    assert!(!world.etcd_healthy(FIRST[0]));
    world.switch_on(FIRST[1]).unwrap();
    after(&mut world, 5 * MINUTE);
    assert!(world.etcd_healthy(FIRST[0]) && world.etcd_healthy(FIRST[1]));
}

#[test]
fn every_draw_of_random_faults_lets_the_bring_up_end_well() {
    for seed in 0..50 {
        let new = NewWorld {
            name: "test".to_string(),
            seed,
            speed: 20.0,
            created_ms: 0,
            site: Site::built_in(),
            faults: vec!["random".to_string()],
        };
        let mut world = World::build(new).unwrap();
        after(&mut world, 10 * MINUTE);
        three_up(&mut world);
        after(&mut world, 30 * MINUTE);
        world.bootstrap(FIRST[0], None);
        after(&mut world, 60 * MINUTE);
        assert!(
            FIRST.iter().all(|ip| world.api_answers(ip)),
            "seed {seed}: {:?}",
            world.faults
        );
    }
}
