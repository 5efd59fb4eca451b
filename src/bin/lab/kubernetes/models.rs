//! What a cluster does: pure functions from objects to objects, over a small store and what is outside.
//!
//! Each model looks at the objects, and writes what its controller would write. All are run again and again until none changes anything; what
//! takes time asks the store whether that time has passed.

mod agents;
mod dns;
mod flux;
mod gateway;
mod health;
mod namespaces;
pub(crate) mod nodes;
mod pods;
mod programs;
mod releases;
mod secrets;
mod services;
mod sources;
mod workloads;

use super::objects::{Objects, Store};
use super::outside::Outside;
pub(crate) use agents::definition;
pub(crate) use agents::{
    Agent, Peer, Session, agent, agent_pods, essentials, mesh_peers, sessions,
};
pub(crate) use pods::is_ready;
pub(crate) use programs::through_node;
pub(crate) use sources::may_read;
pub(crate) use workloads::{deployment_ready, rolled_out};

type Model = fn(&mut dyn Store, &mut Outside);

/// Every model, in the order in which effects usually go.
const MODELS: &[Model] = &[
    namespaces::begin,
    namespaces::namespaces,
    namespaces::definitions,
    namespaces::orphans,
    nodes::nodes,
    workloads::deployments,
    workloads::daemon_sets,
    workloads::jobs,
    pods::pods,
    agents::operator,
    services::addresses,
    services::pools,
    gateway::classes,
    gateway::gateways,
    gateway::routes,
    sources::git,
    sources::charts,
    flux::kustomizations,
    releases::releases,
    secrets::stores,
    secrets::secrets,
    dns::records,
];

/// Lets a cluster act up to a moment, after something outside of it has changed.
pub(crate) fn settle(objects: &mut Objects, outside: &mut Outside, to: u64) {
    objects.forget_looks(MODELS.len());
    go_on(objects, outside, to);
}

/// Lets a cluster act up to a moment; what is outside of it is as it was.
pub(crate) fn go_on(objects: &mut Objects, outside: &mut Outside, to: u64) {
    if objects.memories.len() != MODELS.len() {
        objects.forget_looks(MODELS.len());
    }
    loop {
        let due = objects.due_ms.filter(|due| *due <= to);
        let at = due.map_or(to, |due| due.max(objects.at_ms));
        objects.begin(at);
        rounds(MODELS, objects, outside);
        if due.is_none() {
            break;
        }
    }
}

/// The models of what is not real where the control plane, the nodes and Flux's controllers of sources and Kustomizations are.
const OPERATORS: &[Model] = &[
    pods::ends,
    agents::operator,
    services::addresses,
    services::pools,
    gateway::classes,
    gateway::gateways,
    gateway::routes,
    releases::releases,
    secrets::stores,
    secrets::secrets,
    dns::records,
];

/// Lets the operators of a real cluster look once, at a moment.
pub(crate) fn operate(objects: &mut Objects, outside: &mut Outside, at: u64) {
    // What a real API server says of its objects has no history here: all look, each time.
    objects.forget_looks(OPERATORS.len());
    objects.begin(at);
    rounds(OPERATORS, objects, outside);
}

/// Runs all models that have to look until none has to.
fn rounds(models: &[Model], objects: &mut Objects, outside: &mut Outside) {
    // A cluster whose controllers fight would never settle; the next look goes on.
    for _ in 0..200 {
        let mut looked = false;
        for (index, model) in models.iter().enumerate() {
            if objects.must_look(index) {
                looked = true;
                objects.look(index, |objects| {
                    let before = outside.zone.clone();
                    model(objects, outside);
                    before != outside.zone
                });
            }
        }
        if !looked {
            return;
        }
    }
}

/// Returns how long something takes, between two numbers of milliseconds.
fn takes(outside: &Outside, what: &str, low: u64, high: u64) -> u64 {
    crate::chance::between(
        outside.seed,
        &format!("{} {what}", outside.cluster),
        low,
        high,
    )
}
