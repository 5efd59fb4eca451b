//! `talosctl get`: resources of nodes, in every form that the lab plays.

use serde_json::{Value, json};

use super::plays;
use super::resources::{Kind, Resource, kind_of};
use super::wire::{Client, Rpc, hangs};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::jsonpath;
use crate::room::{Reply, Room};
use crate::text::{go_json, row, several, table};
use crate::world::World;

/// Plays the command.
pub(super) fn run(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["output", "namespace"])?;
    let output = call.flag("output").unwrap_or("table").to_string();
    if !matches!(output.as_str(), "json" | "yaml" | "table") && !output.starts_with("jsonpath=") {
        return Err(call.fail(format!("output format \"{output}\" is not supported")));
    }
    let client = Client::open(call)?;
    Ok(room.play(150, |world| {
        if hangs(world, &client) {
            return Reply::Hang;
        }
        answer(call, world, &client, &output)
    }))
}

fn answer(call: &Invocation, world: &mut World, client: &Client, output: &str) -> Reply {
    let targets = match client.reach(world, true) {
        Ok(targets) => targets,
        Err(late) => return Reply::After(late.after, call.fail(late.rpc.to_string())),
    };
    // The type is looked up on the first node alone, so its failure ends everything.
    if let Some(Err(rpc)) = targets.first().map(|target| &target.ip) {
        return Reply::Done(call.fail(rpc.to_string()));
    }
    let kind = match kind_of(&call.args[0]) {
        Ok(kind) => kind,
        Err(rpc) => return Reply::Done(call.fail(rpc.to_string())),
    };
    let (mut found, mut errors): (Vec<(String, Resource)>, Vec<String>) = (Vec::new(), Vec::new());
    for target in &targets {
        let listed = target
            .ip
            .clone()
            .and_then(|ip| list(world, client, kind, &ip, call.args.get(1)));
        match listed {
            Ok(resources) => found.extend(
                resources
                    .into_iter()
                    .map(|resource| (target.label.clone(), resource)),
            ),
            Err(rpc) => errors.push(rpc.to_string()),
        }
    }
    let mut answer = match show(&found, kind, output) {
        Ok(text) => Answer::out(text),
        Err(why) => return Reply::Done(call.fail(why)),
    };
    if !errors.is_empty() {
        answer.stderr = call.fail(several(&errors)).stderr;
        answer.code = 1;
    }
    Reply::Done(answer)
}

fn list(
    world: &World,
    client: &Client,
    kind: Kind,
    ip: &str,
    id: Option<&String>,
) -> Result<Vec<Resource>, Rpc> {
    if kind.is_sensitive() && client.is_insecure() {
        return Err(Rpc::new("PermissionDenied", "not authorized"));
    }
    let all = kind.list(world, ip);
    let Some(id) = id else { return Ok(all) };
    let found: Vec<Resource> = all
        .into_iter()
        .filter(|resource| resource.id == *id)
        .collect();
    if found.is_empty() {
        let text = format!(
            "resource {}({}/{id}@undefined) doesn't exist",
            kind.full_name(),
            kind.namespace()
        );
        return Err(Rpc::new("NotFound", text));
    }
    Ok(found)
}

fn show(found: &[(String, Resource)], kind: Kind, output: &str) -> Result<String, String> {
    if output == "table" {
        let mut rows = vec![row(&["NODE", "NAMESPACE", "TYPE", "ID", "VERSION"])];
        rows[0].extend(kind.columns().iter().map(ToString::to_string));
        for (node, resource) in found {
            let mut cells = row(&[node, kind.namespace(), kind.short_name(), &resource.id]);
            cells.push(resource.version.to_string());
            cells.extend(resource.cells.clone());
            rows.push(cells);
        }
        return Ok(table(&rows, 3));
    }
    let objects: Vec<Value> = found
        .iter()
        .map(|(node, resource)| object(node, kind, resource))
        .collect();
    if let Some(template) = output.strip_prefix("jsonpath=") {
        let lines: Result<Vec<String>, String> = objects
            .iter()
            .map(|object| Ok(jsonpath::evaluate(template, object)? + "\n"))
            .collect();
        return Ok(lines?.concat());
    }
    if output == "json" {
        return Ok(objects
            .iter()
            .map(|object| go_json(object, "    ") + "\n")
            .collect());
    }
    let documents: Vec<String> = objects
        .iter()
        .map(|object| {
            let ordered = json!({ "node": object["node"], "metadata": object["metadata"], "spec": object["spec"] });
            serde_yaml::to_string(&ordered).unwrap_or_default()
        })
        .collect();
    Ok(documents.join("---\n"))
}

fn object(node: &str, kind: Kind, resource: &Resource) -> Value {
    let id = resource
        .id
        .parse::<u64>()
        .map_or_else(|_| json!(resource.id), |number| json!(number));
    let owner = if kind.owner().is_empty() {
        Value::Null
    } else {
        json!(kind.owner())
    };
    let mut metadata = json!({
        "namespace": kind.namespace(),
        "type": kind.full_name(),
        "id": id,
        "version": resource.version,
        "owner": owner,
        "phase": "running",
        "created": resource.created,
        "updated": resource.updated,
    });
    if resource.id.starts_with("u-") {
        metadata["labels"] = json!({ "talos.dev/user-volume": "" });
    }
    json!({ "node": node, "metadata": metadata, "spec": resource.spec })
}
