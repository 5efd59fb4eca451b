//! External Secrets: stores that open 1Password, and the Secrets made from it.

use serde_json::{Value, json};

use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{is_true, list, members, place, put_condition, set, text};
use super::programs;
use crate::fault::Kind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const STORE: &str = "ClusterSecretStore.external-secrets.io";

fn works(store: &dyn Store) -> bool {
    programs::works(store, "external-secrets", "external-secrets")
        && programs::works(store, "external-secrets", "external-secrets-webhook")
}

/// Stores are ready when 1Password Connect takes their token.
pub(super) fn stores(store: &mut dyn Store, outside: &mut Outside) {
    if !works(store) {
        return;
    }
    let all: Vec<Value> = store.list(STORE).into_iter().cloned().collect();
    for mut found in all {
        let date = store.date();
        match open(store, outside, &found) {
            Ok(()) => put_condition(
                &mut found,
                &date,
                "Ready",
                "True",
                "Valid",
                "store validated",
            ),
            Err((reason, why)) => put_condition(&mut found, &date, "Ready", "False", reason, &why),
        }
        set(&mut found, "/status/capabilities", json!("ReadWrite"));
        store.write(found);
    }
}

fn open(
    store: &dyn Store,
    outside: &mut Outside,
    found: &Value,
) -> Result<(), (&'static str, String)> {
    let provider = &found["spec"]["provider"]["onepassword"];
    if !provider.is_object() {
        return Err((
            "InvalidProviderConfig",
            "the lab plays only the provider onepassword".to_string(),
        ));
    }
    let reference = &provider["auth"]["secretRef"]["connectTokenSecretRef"];
    let (namespace, name, key) = (
        text(reference, "/namespace"),
        text(reference, "/name"),
        text(reference, "/key"),
    );
    let Some(secret) = store.get("Secret", namespace, name) else {
        return Err((
            "InvalidProviderConfig",
            format!("could not get secret {namespace}/{name}: Secret \"{name}\" not found"),
        ));
    };
    let given = STANDARD
        .decode(text(secret, &format!("/data/{key}")))
        .unwrap_or_default();
    let given = String::from_utf8_lossy(&given).into_owned();
    if outside
        .feels(Kind::ConnectDown, &outside.cluster.clone())
        .is_some()
        || text(provider, "/connectHost") != outside.connect
        || !programs::resolves(store)
    {
        return Err((
            "ValidationFailed",
            format!(
                "unable to validate store: Get \"{}/v1/vaults\": dial tcp: i/o timeout",
                text(provider, "/connectHost")
            ),
        ));
    }
    let known = ["onepassword-connect", "shared-1password"]
        .iter()
        .filter_map(|item| {
            outside.secret(
                "Infra",
                item,
                if *item == "onepassword-connect" {
                    "token"
                } else {
                    "OP_CONNECT_TOKEN"
                },
            )
        })
        .any(|token| token == given.trim() && !token.is_empty());
    if !known {
        return Err((
            "ValidationFailed",
            "unable to validate store: status 401: Invalid bearer token".to_string(),
        ));
    }
    Ok(())
}

/// Secrets are filled with what the vaults hold.
pub(super) fn secrets(store: &mut dyn Store, outside: &mut Outside) {
    if !works(store) {
        return;
    }
    let all: Vec<Value> = store
        .list("ExternalSecret.external-secrets.io")
        .into_iter()
        .cloned()
        .collect();
    for wanted in all {
        if wanted["metadata"].get("deletionTimestamp").is_none() {
            one(store, outside, wanted);
        }
    }
}

fn one(store: &mut dyn Store, outside: &mut Outside, mut wanted: Value) {
    let date = store.date();
    let uid = text(&wanted, "/metadata/uid").to_string();
    if !store.passed(&format!("{uid} first"), 500) {
        return;
    }
    match sync(store, outside, &wanted) {
        Ok(target) => {
            store.write(target);
            let before = wanted.clone();
            let name = target_name(&wanted);
            put_condition(
                &mut wanted,
                &date,
                "Ready",
                "True",
                "SecretSynced",
                "secret synced",
            );
            set(&mut wanted, "/status/binding", json!({ "name": name }));
            let synced = format!("{}-{uid}", wanted["metadata"]["generation"]);
            set(&mut wanted, "/status/syncedResourceVersion", json!(synced));
            if wanted != before {
                set(&mut wanted, "/status/refreshTime", json!(date));
            }
        }
        Err(why) => put_condition(
            &mut wanted,
            &date,
            "Ready",
            "False",
            "SecretSyncedError",
            &why,
        ),
    }
    store.write(wanted);
}

fn target_name(wanted: &Value) -> String {
    let name = text(wanted, "/spec/target/name");
    if name.is_empty() {
        place(wanted).1.to_string()
    } else {
        name.to_string()
    }
}

fn sync(store: &dyn Store, outside: &mut Outside, wanted: &Value) -> Result<Value, String> {
    let (namespace, own) = place(wanted);
    let kind = text(wanted, "/spec/secretStoreRef/kind");
    let name = text(wanted, "/spec/secretStoreRef/name");
    if kind != "ClusterSecretStore" {
        return Err(format!(
            "could not get {kind} \"{name}\": the lab plays only ClusterSecretStore"
        ));
    }
    let found = store.get(STORE, "", name).ok_or_else(|| format!("could not get ClusterSecretStore \"{name}\": ClusterSecretStore.external-secrets.io \"{name}\" not found"))?;
    if !is_true(found, "Ready") {
        return Err(format!("ClusterSecretStore \"{name}\" is not ready"));
    }
    let vaults: Vec<String> = members(&found["spec"]["provider"]["onepassword"]["vaults"])
        .keys()
        .cloned()
        .collect();
    let mut data = serde_json::Map::new();
    for entry in list(wanted, "/spec/data") {
        let (item, field) = (
            text(entry, "/remoteRef/key"),
            text(entry, "/remoteRef/property"),
        );
        if outside.feels(Kind::ItemMissing, item).is_some() {
            return Err(format!(
                "error processing spec.data: key not found in 1Password Vaults: {item} in: {vaults:?}"
            ));
        }
        let value = vaults
            .iter()
            .find_map(|vault| outside.secret(vault, item, field));
        let Some(value) = value else {
            return Err(format!(
                "error processing spec.data: key not found in 1Password Vaults: {item} in: {vaults:?} (property {field})"
            ));
        };
        let decoded = if text(entry, "/remoteRef/decodingStrategy") == "Base64" {
            STANDARD
                .decode(value.trim())
                .map_err(|error| format!("error decoding {item}: {error}"))?
        } else {
            value.as_bytes().to_vec()
        };
        data.insert(
            text(entry, "/secretKey").to_string(),
            json!(STANDARD.encode(decoded)),
        );
    }
    if wanted["spec"].get("dataFrom").is_some() {
        return Err("the lab does not play spec.dataFrom".to_string());
    }
    let template = members(&wanted["spec"]["target"]["template"]["data"]);
    if !template.is_empty() {
        return Err("the lab does not play spec.target.template.data".to_string());
    }
    let target = target_name(wanted);
    let merges = text(wanted, "/spec/target/creationPolicy") == "Merge";
    let old = store.get("Secret", namespace, &target);
    let mut secret = match (old, merges) {
        (None, true) => {
            return Err(format!(
                "secret \"{target}\" not found: the desired secret was not found. With creationPolicy=Merge the secret won't be created"
            ));
        }
        (Some(old), true) => old.clone(),
        (old, false) => {
            let mut fresh = old.cloned().unwrap_or_else(|| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": target, "namespace": namespace }, "type": "Opaque" }));
            fresh["metadata"]["ownerReferences"] = json!([{ "apiVersion": wanted["apiVersion"], "kind": "ExternalSecret", "name": own, "uid": wanted["metadata"]["uid"], "controller": true }]);
            fresh["data"] = json!({});
            fresh
        }
    };
    for (name, value) in data {
        secret["data"][name] = value;
    }
    Ok(secret)
}
