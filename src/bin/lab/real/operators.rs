//! The models of a cluster's operators, acting through a real API: they are shown its objects, and what they would write is written back.
//!
//! A model works on a store in memory. After it has run, what differs from what the API server said is sent: specs and statuses each by their own
//! path, with the version that was read, so that whoever was faster wins and the models look again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, Said};
use super::helm::{self, Helm};
use super::keeper::{Shared, pause};
use super::plane::complain;
use super::{agent, folder, tool};
use crate::kubernetes::value::{kind_of, list, place, set, text};
use crate::kubernetes::{Essentials, Objects, Outside, Store as _, Zone, models};
use crate::world::kubernetes;
use crate::world::store::Folder;

/// A kind that models look at: API path, plural, kind, whether in namespaces.
type Kind = (&'static str, &'static str, &'static str, bool);

/// Those that every API server has.
const OWN: &[Kind] = &[
    ("api/v1", "nodes", "Node", false),
    ("api/v1", "namespaces", "Namespace", false),
    ("api/v1", "pods", "Pod", true),
    ("api/v1", "services", "Service", true),
    ("api/v1", "configmaps", "ConfigMap", true),
    ("api/v1", "secrets", "Secret", true),
    ("apis/apps/v1", "deployments", "Deployment", true),
    ("apis/apps/v1", "daemonsets", "DaemonSet", true),
];

/// Those that somebody has to define first.
const DEFINED: &[Kind] = &[
    (
        "apis/cilium.io/v2",
        "ciliumbgpadvertisements",
        "CiliumBGPAdvertisement",
        false,
    ),
    (
        "apis/cilium.io/v2",
        "ciliumbgpclusterconfigs",
        "CiliumBGPClusterConfig",
        false,
    ),
    (
        "apis/cilium.io/v2",
        "ciliumbgppeerconfigs",
        "CiliumBGPPeerConfig",
        false,
    ),
    (
        "apis/cilium.io/v2",
        "ciliumloadbalancerippools",
        "CiliumLoadBalancerIPPool",
        false,
    ),
    (
        "apis/cilium.io/v2",
        "ciliumnetworkpolicies",
        "CiliumNetworkPolicy",
        true,
    ),
    (
        "apis/gateway.networking.k8s.io/v1",
        "gatewayclasses",
        "GatewayClass",
        false,
    ),
    (
        "apis/gateway.networking.k8s.io/v1",
        "gateways",
        "Gateway",
        true,
    ),
    (
        "apis/gateway.networking.k8s.io/v1",
        "httproutes",
        "HTTPRoute",
        true,
    ),
    (
        "apis/external-secrets.io/v1",
        "clustersecretstores",
        "ClusterSecretStore",
        false,
    ),
    (
        "apis/external-secrets.io/v1",
        "externalsecrets",
        "ExternalSecret",
        true,
    ),
    (
        "apis/helm.toolkit.fluxcd.io/v2",
        "helmreleases",
        "HelmRelease",
        true,
    ),
    (
        "apis/source.toolkit.fluxcd.io/v1",
        "ocirepositories",
        "OCIRepository",
        true,
    ),
];

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// How often they look.
const GLANCE: Duration = Duration::from_millis(700);

/// Lets the operators of a cluster act until the keeper ends.
pub(super) fn run(index: usize, shared: &Shared) {
    let world = shared.world();
    let mut operators = Operators::new(world.seed, world.created_ms, world.now_ms);
    let name = format!("cluster-{index}");
    let mut last = String::new();
    loop {
        let done = operators.look(index, shared);
        let said = match done {
            Ok(wrong) => wrong.join("; "),
            // The API server comes and goes; its plane says why.
            Err(error) => error.to_string(),
        };
        if said != last && !said.is_empty() {
            complain(&name, &format!("operators: {said}"));
        }
        last = said;
        pause(GLANCE);
    }
}

/// The operators of one cluster.
#[derive(Debug)]
struct Operators {
    objects: Objects,
    /// Helm's records in the lab's form, by the object's uid: none changes but its labels.
    records: BTreeMap<String, (String, Value)>,
    /// What was last told to the world.
    told: Option<(Essentials, String)>,
}

impl Operators {
    fn new(seed: u64, epoch_ms: u64, now_ms: u64) -> Self {
        Self {
            objects: Objects::new(seed, epoch_ms, now_ms),
            records: BTreeMap::new(),
            told: None,
        }
    }

    /// Lets the operators look and act once; returns what could not be written.
    fn act(
        &mut self,
        api: &Api,
        outside: &mut Outside,
        now_ms: u64,
        schemas: &Path,
    ) -> io::Result<Vec<String>> {
        let Some(read) = self.read(api)? else {
            return Ok(Vec::new());
        };
        self.objects.adopt(read.clone());
        models::operate(&mut self.objects, outside, now_ms);
        let mut wrong = Vec::new();
        let before: BTreeMap<_, Value> = read
            .into_iter()
            .map(|object| (key(&object), object))
            .collect();
        let after: Vec<Value> = self.objects.all().into_iter().cloned().collect();
        for object in &after {
            let done = match before.get(&key(object)) {
                Some(old) => change(api, old, object),
                None => create(api, object, schemas),
            };
            wrong.extend(done?);
        }
        let left: std::collections::BTreeSet<_> = after.iter().map(key).collect();
        for (name, old) in &before {
            if !left.contains(name)
                && let Some(path) = path(old)
            {
                let said = if old["metadata"].get("deletionTimestamp").is_some() {
                    // It is going already, and what held it is done.
                    let mut free = old.clone();
                    free["metadata"]["finalizers"] = json!([]);
                    api.send("PUT", &path, &free)?
                } else {
                    api.send("DELETE", &path, &json!({}))?
                };
                wrong.extend(refusal(&said, &path));
            }
        }
        Ok(wrong)
    }

    /// Looks once, and tells the world what is seen of the cluster from outside.
    fn look(&mut self, index: usize, shared: &Shared) -> io::Result<Vec<String>> {
        let world = shared.world();
        let name = format!("cluster-{index}");
        let api = Api {
            socket: PathBuf::from(&name).join("api.sock"),
        };
        if !world.is_alive(index) || !api.socket.exists() || !api.get("/readyz")?.good() {
            return Ok(Vec::new());
        }
        let home = folder(&shared.world);
        let mut outside = world.outside(index);
        let mut env = tool::surroundings(&shared.world, shared.proxy, Some(index));
        for key in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            let place = home.join("cache/helm").to_string_lossy().into_owned();
            env.push((key.to_string(), place));
        }
        outside.helm = Some(Helm {
            program: shared.setup.tools.join("helm"),
            kubeconfig: home.join(&name).join("kubeconfig"),
            folder: home.clone(),
            env,
        });
        let zone = outside.zone.clone();
        let schemas = shared.setup.tools.join("schemas/definitions");
        let wrong = self.act(&api, &mut outside, world.now_ms, &schemas)?;
        let answers = agent::answers(&self.objects, &mut outside);
        if !home.join(&name).exists() {
            return Ok(wrong);
        }
        replace(&home.join(&name).join("agent.json"), &answers.to_string())?;
        let seen = models::essentials(&self.objects, &mut outside);
        self.tell(index, shared, &seen, &zone, &outside)?;
        Ok(wrong)
    }

    fn tell(
        &mut self,
        index: usize,
        shared: &Shared,
        seen: &Essentials,
        before: &Zone,
        outside: &Outside,
    ) -> io::Result<()> {
        let text = serde_json::to_string(&self.objects)?;
        let state = blake3::hash(text.as_bytes()).to_hex().to_string();
        let told = (seen.clone(), state);
        if *before == outside.zone && outside.felt.is_empty() && self.told.as_ref() == Some(&told) {
            return Ok(());
        }
        let file = format!("{index}.real.json");
        let place = shared.world.join(kubernetes::FOLDER);
        fs::create_dir_all(&place)?;
        // Only now does nobody sweep the folder; what is swept are files that the world does not name.
        Folder::new(&shared.world).change(|world| {
            replace(&place.join(&file), &text)?;
            world.saw(index, &file, seen.clone());
            // Others may have written other records meanwhile.
            for (name, records) in &outside.zone {
                if before.get(name) != Some(records) {
                    world.zone.insert(name.clone(), records.clone());
                }
            }
            for name in before
                .keys()
                .filter(|name| !outside.zone.contains_key(*name))
            {
                world.zone.remove(name);
            }
            for spec in &outside.felt {
                if let Some(fault) = world.faults.iter_mut().find(|fault| fault.spec == *spec) {
                    fault.fired += 1;
                }
            }
            io::Result::Ok(())
        })??;
        self.told = Some(told);
        Ok(())
    }

    /// Returns all objects that models look at; nothing while the API server cannot say.
    fn read(&mut self, api: &Api) -> io::Result<Option<Vec<Value>>> {
        let mut all = Vec::new();
        let mut defined = Vec::new();
        for mut definition in items(&api.outline(DEFINITIONS)?)? {
            definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
            definition["kind"] = json!("CustomResourceDefinition");
            // An outline has no status; whether its kind is served is asked below, where it counts.
            definition["status"] =
                json!({ "conditions": [{ "type": "Established", "status": "True" }] });
            defined.push(text(&definition, "/metadata/name").to_string());
            all.push(definition);
        }
        for kind in OWN.iter().chain(DEFINED) {
            let (api_path, plural, name, _) = kind;
            let group = api_path.split('/').nth(1).unwrap_or_default();
            if !OWN.contains(kind) && !defined.contains(&format!("{plural}.{group}")) {
                continue;
            }
            let said = api.get(&format!("/{api_path}/{plural}"))?;
            if said.status == 404 {
                // Defined, and not served yet.
                continue;
            }
            if said.status == 429 {
                // About to be served: nothing is known of the cluster for a moment.
                return Ok(None);
            }
            for mut object in items(&said)? {
                object["apiVersion"] = json!(version(api_path));
                object["kind"] = json!(name);
                all.push(object);
            }
        }
        for object in all.iter_mut().filter(|object| helm::is_record(object)) {
            let uid = text(object, "/metadata/uid").to_string();
            let version = text(object, "/metadata/resourceVersion").to_string();
            if self
                .records
                .get(&uid)
                .is_none_or(|(known, _)| *known != version)
            {
                let said = helm::translate(object).unwrap_or_else(|| object.clone());
                self.records.insert(uid.clone(), (version, said));
            }
            *object = self.records[&uid].1.clone();
        }
        Ok(Some(all))
    }
}

/// Writes a file as a whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    fs::rename(next, path)
}

fn key(object: &Value) -> (String, String, String) {
    let (namespace, name) = place(object);
    (kind_of(object), namespace.to_string(), name.to_string())
}

fn version(api_path: &str) -> &str {
    api_path.split_once('/').map_or("", |(_, version)| version)
}

fn items(said: &Said) -> io::Result<Vec<Value>> {
    if !said.good() {
        let text = String::from_utf8_lossy(&said.body).into_owned();
        return Err(io::Error::other(format!("a list: {} {text}", said.status)));
    }
    Ok(list(&said.json(), "/items").to_vec())
}

/// Returns the path of the objects of a kind in a namespace.
fn collection(object: &Value) -> Option<String> {
    let (api, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    if kind == "CustomResourceDefinition" {
        return Some(DEFINITIONS.to_string());
    }
    let (path, plural, _, namespaced) = OWN
        .iter()
        .chain(DEFINED)
        .find(|(path, _, name, _)| *name == kind && version(path) == api)?;
    let namespace = place(object).0;
    Some(if *namespaced {
        format!("/{path}/namespaces/{namespace}/{plural}")
    } else {
        format!("/{path}/{plural}")
    })
}

fn path(object: &Value) -> Option<String> {
    Some(format!("{}/{}", collection(object)?, place(object).1))
}

/// What somebody wants of an object: everything but its status and what the server says of it.
fn wish(object: &Value) -> Value {
    let mut wish = object.clone();
    if let Some(members) = wish.as_object_mut() {
        members.shift_remove("status");
    }
    if let Some(members) = wish["metadata"].as_object_mut() {
        for name in [
            "resourceVersion",
            "generation",
            "uid",
            "creationTimestamp",
            "managedFields",
        ] {
            members.shift_remove(name);
        }
    }
    sorted(&wish)
}

/// Members in one order, so that the same is the same.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut all: Vec<(&String, &Value)> = members.iter().collect();
            all.sort_by_key(|(name, _)| *name);
            all.into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// Writes what differs; returns what was refused.
fn change(api: &Api, old: &Value, new: &Value) -> io::Result<Option<String>> {
    // Helm's records are helm's, and definitions were seen in outline only.
    if helm::is_record(old) || text(old, "/kind") == "CustomResourceDefinition" {
        return Ok(None);
    }
    let Some(path) = path(old) else {
        return Ok(None);
    };
    let mut sent = new.clone();
    for name in ["resourceVersion", "generation", "uid", "creationTimestamp"] {
        sent["metadata"][name] = old["metadata"][name].clone();
    }
    if wish(old) != wish(new) {
        let said = api.send("PUT", &path, &sent)?;
        if !said.good() {
            return Ok(refusal(&said, &path));
        }
        sent["metadata"]["resourceVersion"] = said.json()["metadata"]["resourceVersion"].clone();
    }
    if sorted(&old["status"]) != sorted(&new["status"]) {
        complete(
            &mut sent["status"],
            text(old, "/metadata/creationTimestamp"),
        );
        let path = format!("{path}/status");
        return Ok(refusal(&api.send("PUT", &path, &sent)?, &path));
    }
    Ok(None)
}

fn create(api: &Api, object: &Value, schemas: &Path) -> io::Result<Option<String>> {
    if helm::is_record(object) {
        return Ok(None);
    }
    let Some(at) = collection(object) else {
        return Ok(Some(format!(
            "the lab has no path for a {}",
            text(object, "/kind")
        )));
    };
    let mut sent = object.clone();
    if text(object, "/kind") == "CustomResourceDefinition" {
        sent = published(object, schemas);
    }
    if let Some(members) = sent["metadata"].as_object_mut() {
        for name in ["resourceVersion", "generation", "uid", "creationTimestamp"] {
            members.shift_remove(name);
        }
    }
    let said = api.send("POST", &at, &sent)?;
    Ok(refusal(&said, &at))
}

/// Conflicts are no refusals: somebody was faster, and the next look sees what he did.
fn refusal(said: &Said, path: &str) -> Option<String> {
    if said.good() || matches!(said.status, 404 | 409) {
        return None;
    }
    let why = said.json()["message"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    Some(format!("{path}: {} {why}", said.status))
}

/// Puts into conditions what a real definition demands and models leave out.
fn complete(status: &mut Value, date: &str) {
    match status {
        Value::Object(members) => {
            for (name, inner) in members.iter_mut() {
                if name != "conditions" {
                    complete(inner, date);
                    continue;
                }
                for condition in inner.as_array_mut().into_iter().flatten() {
                    for (member, value) in [
                        ("lastTransitionTime", date),
                        ("message", ""),
                        ("reason", "Unspecified"),
                    ] {
                        if text(condition, &format!("/{member}")).is_empty() {
                            set(condition, &format!("/{member}"), json!(value));
                        }
                    }
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| complete(item, date)),
        _ => {}
    }
}

/// Returns a definition with its published shape, or with an open one where none is published.
fn published(definition: &Value, schemas: &Path) -> Value {
    let name = text(definition, "/metadata/name");
    let plural = text(definition, "/spec/names/plural");
    let found = fs::read_dir(schemas)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .ends_with(&format!(".{plural}.yaml"))
        })
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|text| serde_yaml::from_str::<Value>(&text).ok())
        .find(|known| text(known, "/metadata/name") == name);
    if let Some(known) = found {
        return known;
    }
    let mut open = definition.clone();
    if let Some(members) = open.as_object_mut() {
        members.shift_remove("status");
    }
    for version in open["spec"]["versions"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        version["subresources"] = json!({ "status": {} });
        version["schema"] = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    }
    open
}

#[cfg(test)]
mod tests {
    use super::{complete, path, published, wish};
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn what_the_server_says_of_an_object_is_nobodys_wish() {
        let old = json!({ "metadata": { "name": "a", "resourceVersion": "1", "labels": { "x": "1", "y": "2" } }, "spec": {}, "status": { "a": 1 } });
        let new = json!({ "metadata": { "name": "a", "resourceVersion": "2", "labels": { "y": "2", "x": "1" } }, "spec": {} });
        assert_eq!(wish(&old), wish(&new));
        let other = json!({ "metadata": { "name": "a", "labels": { "x": "2" } }, "spec": {} });
        assert_ne!(wish(&old), wish(&other));
    }

    #[test]
    fn every_kind_has_its_path() {
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a", "namespace": "b" } });
        assert_eq!(path(&service).unwrap(), "/api/v1/namespaces/b/services/a");
        let class = json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": { "name": "c" } });
        assert_eq!(
            path(&class).unwrap(),
            "/apis/gateway.networking.k8s.io/v1/gatewayclasses/c"
        );
        assert_eq!(
            path(&json!({ "apiVersion": "v9", "kind": "Service", "metadata": { "name": "a" } })),
            None
        );
    }

    #[test]
    fn conditions_are_completed_wherever_they_stand() {
        let mut status = json!({ "listeners": [{ "conditions": [{ "type": "Ready", "status": "True", "reason": "Mine" }] }] });
        complete(&mut status, "2026-01-01T00:00:00Z");
        let condition = &status["listeners"][0]["conditions"][0];
        assert_eq!(condition["reason"], "Mine");
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(condition["message"], "");
    }

    #[test]
    fn a_definition_without_a_published_shape_is_open() {
        let definition = json!({ "metadata": { "name": "as.b.c" }, "spec": { "names": { "plural": "as" }, "versions": [{ "name": "v1" }] } });
        let open = published(&definition, Path::new("nowhere"));
        let schema = &open["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true);
    }
}
