//! What an API server does with an object before it stores it: known kind, existing namespace, defaults, merging.

use std::fmt;

use serde_json::{Map, Value, json};

use super::kinds::{self, Kind};
use super::objects::Store;
use super::outside::Outside;
use super::value::{kind_of, list, members, place, set, text};

/// Why an object was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such kind is served.
    NoKind {
        /// The kind.
        kind: String,
        /// Group and version.
        version: String,
        /// The object's name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// The namespace is not there.
    NoNamespace(String),
    /// The namespace is going.
    Terminating(String),
    /// Somebody else owns what was to be changed: manager and field.
    Conflict(Vec<(String, String)>),
    /// A field is of another type: `failed to create typed patch object …`.
    Untyped(String),
    /// The object cannot be: `The Deployment "x" is invalid: …`.
    Invalid(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKind { kind, version, .. } => {
                write!(f, "no matches for kind \"{kind}\" in version \"{version}\"")
            }
            Self::NoNamespace(name) => write!(f, "namespaces \"{name}\" not found"),
            Self::Terminating(text) | Self::Invalid(text) | Self::Untyped(text) => {
                f.write_str(text)
            }
            Self::Conflict(fields) => {
                let all: Vec<String> = fields
                    .iter()
                    .map(|(manager, field)| format!("conflict with \"{manager}\": {field}"))
                    .collect();
                let word = if all.len() == 1 {
                    "1 conflict".to_string()
                } else {
                    format!("{} conflicts", all.len())
                };
                write!(f, "Apply failed with {word}: {}", all.join(", "))
            }
        }
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is new.
    Created,
    /// It has changed.
    Configured,
    /// It was so already.
    Unchanged,
}

/// How an object is applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How<'a> {
    /// As whom.
    pub(crate) manager: &'a str,
    /// Whether what others own is taken over.
    pub(crate) force: bool,
    /// Whether nothing is stored.
    pub(crate) dry: bool,
}

/// Returns the kind of an object and gives it a namespace if it must have one.
pub(crate) fn locate(
    store: &dyn Store,
    object: &mut Value,
    namespace: &str,
) -> Result<Kind, Refusal> {
    let Some(kind) = kinds::of(store, object) else {
        let (own, name) = place(object);
        return Err(Refusal::NoKind {
            kind: text(object, "/kind").to_string(),
            version: text(object, "/apiVersion").to_string(),
            name: name.to_string(),
            namespace: if own.is_empty() { namespace } else { own }.to_string(),
        });
    };
    if kind.namespaced {
        if text(object, "/metadata/namespace").is_empty() {
            set(object, "/metadata/namespace", json!(namespace));
        }
    } else {
        super::value::unset(object, "/metadata", "namespace");
    }
    Ok(kind)
}

/// Applies an object as server-side apply does: fields of others stay, fields that this manager no longer names go.
pub(crate) fn apply(
    store: &mut dyn Store,
    outside: &Outside,
    mut object: Value,
    namespace: &str,
    how: How<'_>,
) -> Result<Applied, Refusal> {
    let kind = locate(store, &mut object, namespace)?;
    let (own, name) = place(&object);
    let (own, name) = (own.to_string(), name.to_string());
    if kind.namespaced {
        match store.get("Namespace", "", &own) {
            None => return Err(Refusal::NoNamespace(own)),
            Some(found) if found["metadata"].get("deletionTimestamp").is_some() => {
                if store.get(&kind.id(), &own, &name).is_none() {
                    return Err(Refusal::Terminating(format!(
                        "{} \"{name}\" is forbidden: unable to create new content in namespace {own} because it is being terminated",
                        kind.resource()
                    )));
                }
            }
            Some(_) => {}
        }
    }
    validate(&kind, &object)?;
    if let Some(members) = object.as_object_mut() {
        members.shift_remove("status");
    }
    plain_secret(&mut object);
    let old = store.get(&kind.id(), &own, &name).cloned();
    let wish = without_identity(&object);
    let mut merged = match &old {
        None => object.clone(),
        Some(old) => {
            let conflicts = if how.force {
                Vec::new()
            } else {
                conflicts(old, &wish, how.manager)
            };
            if !conflicts.is_empty() {
                return Err(Refusal::Conflict(conflicts));
            }
            let mut next = old.clone();
            if let Some(before) = wishes(old)
                .into_iter()
                .find(|(manager, _)| manager == how.manager)
                .map(|(_, wish)| wish)
            {
                prune(&mut next, &before, &wish);
            }
            merge(&mut next, &wish);
            next["apiVersion"] = object["apiVersion"].clone();
            next
        }
    };
    remember(&mut merged, how, &wish, &store.date());
    defaults(store, outside, &mut merged, old.as_ref())?;
    if how.dry {
        return Ok(if old.is_none() {
            Applied::Created
        } else {
            Applied::Configured
        });
    }
    let changed = old.as_ref().is_some_and(|old| differs(old, &merged));
    if old.is_none() || changed || old.as_ref() != Some(&merged) {
        store.write(merged);
    }
    Ok(match (old, changed) {
        (None, _) => Applied::Created,
        (Some(_), true) => Applied::Configured,
        (Some(_), false) => Applied::Unchanged,
    })
}

fn differs(old: &Value, new: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        super::value::unset(&mut object, "/metadata", "managedFields");
        object
    };
    bare(old) != bare(new)
}

fn plain_secret(object: &mut Value) {
    use base64::Engine as _;
    if kind_of(object) != "Secret" {
        return;
    }
    let plain = members(&object["stringData"]);
    for (name, value) in plain {
        let coded =
            base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        set(
            object,
            &format!("/data/{}", name.replace('/', "~1")),
            json!(coded),
        );
    }
    if let Some(members) = object.as_object_mut() {
        members.shift_remove("stringData");
        members.entry("type").or_insert_with(|| json!("Opaque"));
    }
}

fn without_identity(object: &Value) -> Value {
    let mut wish = object.clone();
    for name in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "generation",
    ] {
        super::value::unset(&mut wish, "/metadata", name);
    }
    if let Some(members) = wish.as_object_mut() {
        for name in ["apiVersion", "kind", "status"] {
            members.shift_remove(name);
        }
    }
    wish
}

/// Who has applied what. The lab keeps the whole wish where a real server keeps its field names.
fn wishes(object: &Value) -> Vec<(String, Value)> {
    list(object, "/metadata/managedFields")
        .iter()
        .map(|entry| {
            (
                text(entry, "/manager").to_string(),
                entry["fieldsV1"].clone(),
            )
        })
        .collect()
}

fn remember(object: &mut Value, how: How<'_>, wish: &Value, date: &str) {
    let mut entries = list(object, "/metadata/managedFields").to_vec();
    match entries
        .iter_mut()
        .find(|entry| entry["manager"] == how.manager)
    {
        Some(entry) if entry["fieldsV1"] == *wish => {}
        Some(entry) => {
            entry["fieldsV1"] = wish.clone();
            entry["time"] = json!(date);
        }
        None => entries.push(
            json!({ "manager": how.manager, "operation": "Apply", "fieldsV1": wish, "time": date }),
        ),
    }
    if how.force {
        for entry in &mut entries {
            if entry["manager"] != how.manager {
                let mut left = entry["fieldsV1"].clone();
                give_up(&mut left, wish);
                entry["fieldsV1"] = left;
            }
        }
    }
    set(object, "/metadata/managedFields", Value::Array(entries));
}

/// Takes out of a wish what another one says otherwise.
fn give_up(mine: &mut Value, theirs: &Value) {
    let (Value::Object(mine), Value::Object(theirs)) = (mine, theirs) else {
        return;
    };
    for (name, value) in theirs {
        match (mine.get_mut(name), value) {
            (Some(inner @ Value::Object(_)), Value::Object(_)) => give_up(inner, value),
            (Some(inner), _) if *inner != *value => {
                mine.shift_remove(name);
            }
            _ => {}
        }
    }
}

fn conflicts(old: &Value, wish: &Value, manager: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (other, theirs) in wishes(old) {
        if other != manager {
            clash(&theirs, wish, "", &mut |field| {
                found.push((other.clone(), field));
            });
        }
    }
    found
}

fn clash(theirs: &Value, mine: &Value, path: &str, tell: &mut dyn FnMut(String)) {
    match (theirs, mine) {
        (Value::Object(theirs), Value::Object(mine)) => {
            for (name, value) in mine {
                if let Some(other) = theirs.get(name) {
                    clash(other, value, &format!("{path}.{name}"), tell);
                }
            }
        }
        (theirs, mine) if theirs != mine => tell(path.to_string()),
        _ => {}
    }
}

/// Takes away what was wished and is no longer.
fn prune(object: &mut Value, before: &Value, now: &Value) {
    let (Value::Object(have), Value::Object(before)) = (object, before) else {
        return;
    };
    for (name, value) in before {
        match now.get(name) {
            Some(still @ Value::Object(_)) => {
                if let Some(inner) = have.get_mut(name) {
                    prune(inner, value, still);
                }
            }
            Some(_) => {}
            None if value.is_object() => {
                if let Some(inner) = have.get_mut(name) {
                    prune(inner, value, &Value::Object(Map::new()));
                    if inner.as_object().is_some_and(Map::is_empty) {
                        have.shift_remove(name);
                    }
                }
            }
            None => {
                have.shift_remove(name);
            }
        }
    }
}

fn merge(object: &mut Value, wish: &Value) {
    match (object, wish) {
        (Value::Object(have), Value::Object(wish)) => {
            for (name, value) in wish {
                if value.is_null() {
                    have.shift_remove(name);
                } else if let Some(inner) = have.get_mut(name) {
                    merge(inner, value);
                } else {
                    have.insert(name.clone(), value.clone());
                }
            }
        }
        (object, wish) => *object = wish.clone(),
    }
}

fn validate(kind: &Kind, object: &Value) -> Result<(), Refusal> {
    let name = text(object, "/metadata/name");
    let invalid = |what: &str| {
        Err(Refusal::Invalid(format!(
            "The {} \"{name}\" is invalid: {what}",
            kind.kind
        )))
    };
    match kind.id().as_str() {
        "Deployment.apps" | "DaemonSet.apps" => {
            let labels = &object["spec"]["template"]["metadata"]["labels"];
            if !super::value::selects(object.pointer("/spec/selector"), labels) {
                return invalid(&format!(
                    "spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`"
                ));
            }
        }
        "Kustomization.kustomize.toolkit.fluxcd.io" => {
            for field in ["interval", "prune", "sourceRef"] {
                if object["spec"].get(field).is_none() {
                    return invalid(&format!("spec.{field}: Required value"));
                }
            }
        }
        "HelmRelease.helm.toolkit.fluxcd.io"
        | "OCIRepository.source.toolkit.fluxcd.io"
        | "GitRepository.source.toolkit.fluxcd.io"
            if object["spec"].get("interval").is_none() =>
        {
            return invalid("spec.interval: Required value");
        }
        _ => {}
    }
    let texts = matches!(kind.id().as_str(), "ConfigMap" | "Secret");
    if texts
        && let Some((field, value)) = members(&object["data"])
            .iter()
            .find(|(_, value)| !value.is_string())
    {
        let own = text(object, "/metadata/namespace");
        return Err(Refusal::Untyped(format!(
            "failed to create typed patch object ({own}/{name}; /v1, Kind={}): .data.{field}: expected string, got &value.valueUnstructured{{Value:{value}}}",
            kind.kind
        )));
    }
    Ok(())
}

fn defaults(
    store: &dyn Store,
    outside: &Outside,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    match kind_of(object).as_str() {
        "Service" => service(store, outside, object, old)?,
        "Namespace" => {
            let name = text(object, "/metadata/name").to_string();
            set(
                object,
                "/metadata/labels/kubernetes.io~1metadata.name",
                json!(name),
            );
            set(object, "/spec/finalizers", json!(["kubernetes"]));
            if text(object, "/status/phase").is_empty() {
                set(object, "/status/phase", json!("Active"));
            }
        }
        "Pod" if object.get("status").is_none() => {
            set(
                object,
                "/status",
                json!({ "phase": "Pending", "qosClass": "BestEffort" }),
            );
        }
        "Deployment.apps" if object["spec"].get("replicas").is_none() => {
            set(object, "/spec/replicas", json!(1));
        }
        "Kustomization.kustomize.toolkit.fluxcd.io"
        | "GitRepository.source.toolkit.fluxcd.io"
        | "OCIRepository.source.toolkit.fluxcd.io"
        | "HelmRelease.helm.toolkit.fluxcd.io"
            if object.get("status").is_none() =>
        {
            object["status"] = json!({ "observedGeneration": -1 });
        }
        _ => {}
    }
    Ok(())
}

fn service(
    store: &dyn Store,
    outside: &Outside,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    if text(object, "/spec/type").is_empty() {
        set(object, "/spec/type", json!("ClusterIP"));
    }
    if text(object, "/spec/type") == "ExternalName" {
        return Ok(());
    }
    let (namespace, name) = place(object);
    let (namespace, name) = (namespace.to_string(), name.to_string());
    let invalid = |what: String| {
        Err(Refusal::Invalid(format!(
            "The Service \"{name}\" is invalid: {what}"
        )))
    };
    let asked = text(object, "/spec/clusterIP").to_string();
    let was = old
        .map(|old| text(old, "/spec/clusterIP").to_string())
        .unwrap_or_default();
    if !was.is_empty() && !asked.is_empty() && asked != was {
        return invalid(
            "spec.clusterIPs[0]: Invalid value: []string{".to_string()
                + &format!("\"{asked}\"}}: may not change once set"),
        );
    }
    let taken = |ip: &str| {
        store.list("Service").iter().any(|other| {
            text(other, "/spec/clusterIP") == ip
                && place(other) != (namespace.as_str(), name.as_str())
        })
    };
    let net: Option<ipnet::Ipv4Net> = outside.service_cidr.parse().ok();
    let ip = if !was.is_empty() {
        was
    } else if asked.is_empty() {
        // A server hands out from the upper part; the lower one is for those who ask for an address.
        let hosts = net.map(|net| net.hosts()).into_iter().flatten();
        let mut free = hosts.skip(256).map(|ip| ip.to_string());
        free.find(|ip| !taken(ip)).unwrap_or_default()
    } else if asked == "None" {
        asked
    } else {
        let inside = asked
            .parse()
            .is_ok_and(|ip: std::net::Ipv4Addr| net.is_some_and(|net| net.contains(&ip)));
        if !inside {
            return invalid(format!(
                "spec.clusterIPs: Invalid value: [\"{asked}\"]: failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. The range of valid IPs is {}",
                outside.service_cidr
            ));
        }
        if taken(&asked) {
            return invalid(format!(
                "spec.clusterIPs: Invalid value: [\"{asked}\"]: failed to allocate IP {asked}: provided IP is already allocated"
            ));
        }
        asked
    };
    set(object, "/spec/clusterIP", json!(ip));
    set(object, "/spec/clusterIPs", json!([ip]));
    if object.get("status").is_none() {
        set(object, "/status/loadBalancer", json!({}));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Applied, How, Refusal, apply};
    use crate::kubernetes::objects::{Objects, Store as _};
    use crate::kubernetes::outside::Outside;
    use serde_json::{Value, json};

    fn map(data: &Value) -> Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c1", "namespace": "default" }, "data": data })
    }

    fn store() -> Objects {
        let mut objects = Objects::new(1, 1_790_000_000_000, 0);
        objects.write(
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } }),
        );
        objects
    }

    const ME: How<'_> = How {
        manager: "me",
        force: false,
        dry: false,
    };
    const YOU: How<'_> = How {
        manager: "you",
        force: false,
        dry: false,
    };

    #[test]
    fn fields_of_others_stay_and_own_ones_go_when_they_are_no_longer_named() {
        let (mut store, outside) = (store(), Outside::default());
        let mut put = |data, how| apply(&mut store, &outside, map(&data), "default", how);
        assert_eq!(put(json!({ "a": "1", "b": "1" }), ME), Ok(Applied::Created));
        assert_eq!(put(json!({ "c": "1" }), YOU), Ok(Applied::Configured));
        assert_eq!(put(json!({ "b": "2" }), ME), Ok(Applied::Configured));
        assert_eq!(put(json!({ "b": "2" }), ME), Ok(Applied::Unchanged));
        let now = store.get("ConfigMap", "default", "c1").unwrap();
        assert_eq!(now["data"], json!({ "b": "2", "c": "1" }));
    }

    #[test]
    fn what_another_owns_is_a_conflict_unless_it_is_taken() {
        let (mut store, outside) = (store(), Outside::default());
        apply(
            &mut store,
            &outside,
            map(&json!({ "a": "1" })),
            "default",
            ME,
        )
        .unwrap();
        let refused = apply(
            &mut store,
            &outside,
            map(&json!({ "a": "2" })),
            "default",
            YOU,
        )
        .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Apply failed with 1 conflict: conflict with \"me\": .data.a"
        );
        apply(
            &mut store,
            &outside,
            map(&json!({ "a": "2" })),
            "default",
            How { force: true, ..YOU },
        )
        .unwrap();
        // Who gave a field up may not take it away by leaving it out.
        apply(
            &mut store,
            &outside,
            map(&json!({ "b": "1" })),
            "default",
            ME,
        )
        .unwrap();
        assert_eq!(
            store.get("ConfigMap", "default", "c1").unwrap()["data"]["a"],
            "2"
        );
    }

    #[test]
    fn no_kind_and_no_namespace_are_told_apart() {
        let (mut store, outside) = (store(), Outside::default());
        let object = json!({ "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": { "name": "x" } });
        let refused = apply(&mut store, &outside, object, "default", ME).unwrap_err();
        assert!(matches!(refused, Refusal::NoKind { .. }));
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "namespace": "nope" } });
        assert_eq!(
            apply(&mut store, &outside, object, "default", ME),
            Err(Refusal::NoNamespace("nope".to_string()))
        );
    }

    #[test]
    fn services_get_addresses_from_the_network_and_keep_them() {
        let mut store = store();
        let outside = Outside {
            service_cidr: "10.245.0.0/16".to_string(),
            ..Outside::default()
        };
        let service = |name: &str, spec: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "default" }, "spec": spec });
        apply(&mut store, &outside, service("a", json!({})), "default", ME).unwrap();
        apply(
            &mut store,
            &outside,
            service("dns", json!({ "clusterIP": "10.245.0.10" })),
            "default",
            ME,
        )
        .unwrap();
        assert_eq!(
            store.get("Service", "default", "dns").unwrap()["spec"]["clusterIP"],
            "10.245.0.10"
        );
        let taken = apply(
            &mut store,
            &outside,
            service("b", json!({ "clusterIP": "10.245.0.10" })),
            "default",
            ME,
        )
        .unwrap_err();
        assert!(taken.to_string().contains("already allocated"));
        let foreign = apply(
            &mut store,
            &outside,
            service("b", json!({ "clusterIP": "10.1.0.10" })),
            "default",
            ME,
        )
        .unwrap_err();
        assert!(foreign.to_string().contains("not in the valid range"));
    }
}
