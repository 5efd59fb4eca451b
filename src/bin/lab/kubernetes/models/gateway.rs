//! The Gateway API, as Cilium's operator serves it.

use serde_json::{Value, json};

use super::super::kinds::CRD;
use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{is_true, list, place, put_condition, set, text};
use super::{agents, pods};

const NEEDED: [&str; 5] = [
    "gatewayclasses",
    "gateways",
    "httproutes",
    "grpcroutes",
    "referencegrants",
];

/// Whether an operator serves gateways: it looks for the definitions only when it starts.
fn serves(store: &dyn Store) -> bool {
    let made: Option<Vec<&str>> = NEEDED
        .iter()
        .map(|name| {
            store
                .get(CRD, "", &format!("{name}.gateway.networking.k8s.io"))
                .map(|crd| text(crd, "/metadata/creationTimestamp"))
        })
        .collect();
    let (Some(made), Some(agent)) = (made, agents::agent(store)) else {
        return false;
    };
    let last = made.into_iter().max().unwrap_or_default().to_string();
    agent.gateway
        && agents::operators(store)
            .iter()
            .any(|pod| pods::is_ready(pod) && text(pod, "/status/startTime") >= last.as_str())
}

fn status_of(object: &mut Value, date: &str, conditions: &[(&str, &str, &str, &str)]) {
    let generation = object["metadata"]["generation"].clone();
    for (kind, status, reason, message) in conditions {
        put_condition(object, date, kind, status, reason, message);
    }
    if let Some(all) = object
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut)
    {
        for condition in all {
            condition["observedGeneration"] = generation.clone();
        }
    }
}

/// A class is accepted by its controller, if that runs.
pub(super) fn classes(store: &mut dyn Store, _: &mut Outside) {
    let all: Vec<Value> = store
        .list("GatewayClass.gateway.networking.k8s.io")
        .into_iter()
        .cloned()
        .collect();
    let served = serves(store);
    for mut class in all {
        let date = store.date();
        if text(&class, "/spec/controllerName") == "io.cilium/gateway-controller" && served {
            status_of(
                &mut class,
                &date,
                &[("Accepted", "True", "Accepted", "Valid GatewayClass")],
            );
        } else if list(&class, "/status/conditions").is_empty() {
            // The definition's own default.
            status_of(
                &mut class,
                &date,
                &[("Accepted", "Unknown", "Pending", "Waiting for controller")],
            );
        }
        store.write(class);
    }
}

/// A gateway is a Service of type `LoadBalancer`.
pub(super) fn gateways(store: &mut dyn Store, _: &mut Outside) {
    let all: Vec<Value> = store
        .list("Gateway.gateway.networking.k8s.io")
        .into_iter()
        .cloned()
        .collect();
    for mut gateway in all {
        let class = text(&gateway, "/spec/gatewayClassName");
        let accepted = store
            .get("GatewayClass.gateway.networking.k8s.io", "", class)
            .is_some_and(|class| is_true(class, "Accepted"));
        let date = store.date();
        if !accepted || !serves(store) {
            if list(&gateway, "/status/conditions").is_empty() {
                let waits = "Waiting for controller";
                status_of(
                    &mut gateway,
                    &date,
                    &[
                        ("Accepted", "Unknown", "Pending", waits),
                        ("Programmed", "Unknown", "Pending", waits),
                    ],
                );
                store.write(gateway);
            }
            continue;
        }
        let (namespace, name) = place(&gateway);
        let (namespace, name) = (namespace.to_string(), name.to_string());
        let service_name = format!("cilium-gateway-{name}");
        let ports: Vec<Value> = list(&gateway, "/spec/listeners")
            .iter()
            .map(|listener| json!({ "name": format!("port-{}", listener["port"]), "port": listener["port"], "protocol": "TCP" }))
            .collect();
        let old = store.get("Service", &namespace, &service_name).cloned();
        let mut service = old.unwrap_or_else(|| {
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": service_name, "namespace": namespace, "labels": { "io.cilium.gateway/owning-gateway": name },
                    "ownerReferences": [{ "apiVersion": gateway["apiVersion"], "kind": "Gateway", "name": name, "uid": gateway["metadata"]["uid"], "controller": true }] },
                "spec": { "type": "LoadBalancer" }, "status": { "loadBalancer": {} },
            })
        });
        service["spec"]["ports"] = Value::Array(ports);
        if let Some(annotations) = gateway.pointer("/spec/infrastructure/annotations") {
            service["metadata"]["annotations"] = annotations.clone();
        }
        let ip = text(&service, "/status/loadBalancer/ingress/0/ip").to_string();
        store.write(service);
        let missing: Vec<String> = list(&gateway, "/spec/listeners")
            .iter()
            .flat_map(|listener| list(listener, "/tls/certificateRefs"))
            .filter(|reference| {
                let space = text(reference, "/namespace");
                store
                    .get(
                        "Secret",
                        if space.is_empty() { &namespace } else { space },
                        text(reference, "/name"),
                    )
                    .is_none()
            })
            .map(|reference| text(reference, "/name").to_string())
            .collect();
        let programmed = if ip.is_empty() {
            (
                "Programmed",
                "False",
                "AddressNotAssigned",
                "Address is not ready",
            )
        } else {
            (
                "Programmed",
                "True",
                "Programmed",
                "Gateway successfully reconciled",
            )
        };
        status_of(
            &mut gateway,
            &date,
            &[
                (
                    "Accepted",
                    "True",
                    "Accepted",
                    "Gateway successfully scheduled",
                ),
                programmed,
            ],
        );
        let addresses = if ip.is_empty() {
            json!([])
        } else {
            json!([{ "type": "IPAddress", "value": ip }])
        };
        set(&mut gateway, "/status/addresses", addresses);
        let listeners: Vec<Value> = list(&gateway, "/spec/listeners")
            .iter()
            .map(|listener| {
                let broken = list(listener, "/tls/certificateRefs").iter().any(|reference| missing.iter().any(|name| name == text(reference, "/name")));
                let (status, reason) = if broken { ("False", "InvalidCertificateRef") } else { ("True", "ResolvedRefs") };
                json!({ "name": listener["name"], "attachedRoutes": 0, "supportedKinds": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute" }], "conditions": [
                    { "type": "Programmed", "status": if broken { "False" } else { "True" }, "reason": if broken { "Invalid" } else { "Programmed" } },
                    { "type": "ResolvedRefs", "status": status, "reason": reason },
                ] })
            })
            .collect();
        set(&mut gateway, "/status/listeners", Value::Array(listeners));
        store.write(gateway);
    }
}

/// Routes are accepted by their gateways.
pub(super) fn routes(store: &mut dyn Store, _: &mut Outside) {
    let all: Vec<Value> = store
        .list("HTTPRoute.gateway.networking.k8s.io")
        .into_iter()
        .cloned()
        .collect();
    for mut route in all {
        let own = place(&route).0.to_string();
        let parents: Vec<Value> = list(&route, "/spec/parentRefs")
            .iter()
            .filter(|parent| {
                let space = text(parent, "/namespace");
                let space = if space.is_empty() { &own } else { space };
                store.get("Gateway.gateway.networking.k8s.io", space, text(parent, "/name")).is_some_and(|gateway| is_true(gateway, "Accepted"))
            })
            .map(|parent| {
                json!({ "controllerName": "io.cilium/gateway-controller", "parentRef": parent, "conditions": [
                    { "type": "Accepted", "status": "True", "reason": "Accepted", "message": "Accepted HTTPRoute" },
                    { "type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": "Service reference is valid" },
                ] })
            })
            .collect();
        set(&mut route, "/status/parents", Value::Array(parents));
        store.write(route);
    }
}
