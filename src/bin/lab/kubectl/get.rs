//! `kubectl get`.

use serde_json::{Value, json};

use super::{
    connect, error, kind_called, namespace, not_found, operands, plays, presented, selected,
    server, table,
};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::jsonpath;
use crate::kubernetes::Store as _;
use crate::kubernetes::kinds::Kind;
use crate::kubernetes::value::{place, text};
use crate::room::{Reply, Room};
use crate::text::{go_json, lines};
use crate::world::World;

/// Plays `get`.
pub(super) fn get(call: &Invocation) -> Result<Answer, Answer> {
    plays(
        call,
        &[
            "raw",
            "ignore-not-found",
            "no-headers",
            "selector",
            "all-namespaces",
        ],
    )?;
    if let Some(path) = call.flag("raw") {
        return super::raw(call, path);
    }
    let asked = operands(call)?;
    if asked.named.is_empty() && asked.kinds.is_empty() {
        return Err(Answer::fail(
            1,
            "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples\n",
        ));
    }
    let output = call.flag("output").unwrap_or_default().to_string();
    let known = matches!(output.as_str(), "" | "wide" | "json" | "yaml" | "name")
        || output.starts_with("jsonpath=");
    if !known {
        return Err(Answer::not_played(&format!("kubectl get -o {output}")));
    }
    let server = server(call)?;
    let room = Room::open()?;
    let space = namespace(call, &server);
    Ok(room.play(120, |world| {
        let cluster = match connect(world, &server, 5) {
            Ok(cluster) => cluster,
            Err(Reply::After(after, mut answer)) if output == "json" && asked.named.is_empty() => {
                answer.stdout = (go_json(&list(&[]), "    ") + "\n").into_bytes();
                return Reply::After(after, answer);
            }
            Err(reply) => return reply,
        };
        let found = match find(world, cluster, call, &asked, &space) {
            Ok(found) => found,
            Err(answer) => return Reply::Done(answer),
        };
        Reply::Done(show(call, &found, asked.named.len() == 1, &output, world))
    }))
}

/// What was found, and what was not.
struct Found {
    objects: Vec<(Kind, Value)>,
    missing: Vec<String>,
    nothing: String,
}

fn find(
    world: &mut World,
    cluster: usize,
    call: &Invocation,
    asked: &super::Operands,
    space: &str,
) -> Result<Found, Answer> {
    let now = world.rfc3339(world.now_ms);
    let objects = world.objects(cluster);
    let everywhere = call.switch("all-namespaces", false);
    let selector = call.flag("selector").unwrap_or_default();
    let mut found = Found {
        objects: Vec::new(),
        missing: Vec::new(),
        nothing: "No resources found\n".to_string(),
    };
    if !asked.named.is_empty() && (everywhere || !selector.is_empty()) {
        return Err(error(
            "error: a resource cannot be retrieved by name across all namespaces",
        ));
    }
    for (word, name) in &asked.named {
        let kind = kind_called(objects, word)?;
        let place = if kind.namespaced { space } else { "" };
        match objects.get(&kind.id(), place, name) {
            Some(object) => found.objects.push((kind, presented(object, &now))),
            None if call.switch("ignore-not-found", false) => {}
            // The namespace is named if it is that which is not there.
            None if kind.namespaced && objects.get("Namespace", "", place).is_none() => {
                found.missing.push(format!(
                    "Error from server (NotFound): namespaces \"{place}\" not found"
                ));
            }
            None => found.missing.push(not_found(&kind, name)),
        }
    }
    for word in &asked.kinds {
        let kind = kind_called(objects, word)?;
        if kind.namespaced && !everywhere {
            found.nothing = format!("No resources found in {space} namespace.\n");
        }
        for object in objects.list(&kind.id()) {
            let within = everywhere || !kind.namespaced || place(object).0 == space;
            if within && selected(selector, object)? {
                found.objects.push((kind.clone(), presented(object, &now)));
            }
        }
    }
    Ok(found)
}

fn list(items: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "items": items, "kind": "List", "metadata": { "resourceVersion": "" } })
}

fn show(call: &Invocation, found: &Found, single: bool, output: &str, world: &World) -> Answer {
    let objects: Vec<Value> = found
        .objects
        .iter()
        .map(|(_, object)| object.clone())
        .collect();
    let whole = if single {
        objects.first().cloned()
    } else {
        Some(list(&objects))
    };
    let missing = lines(&found.missing);
    let text = match (output, whole) {
        (_, None) => String::new(),
        ("json", Some(whole)) => go_json(&whole, "    ") + "\n",
        ("yaml", Some(whole)) => {
            serde_yaml::to_string(&crate::text::sorted(&whole)).unwrap_or_default()
        }
        ("name", _) => {
            lines(found.objects.iter().map(|(kind, object)| {
                format!("{}/{}", kind.name(), text(object, "/metadata/name"))
            }))
        }
        ("" | "wide", _) if objects.is_empty() => {
            if missing.is_empty() && !single && !call.switch("ignore-not-found", false) {
                return Answer {
                    stdout: Vec::new(),
                    stderr: found.nothing.clone(),
                    code: 0,
                };
            }
            String::new()
        }
        ("" | "wide", _) => match table::of(call, &found.objects, output == "wide", world) {
            Ok(text) => text,
            Err(answer) => return answer,
        },
        (template, Some(whole)) => {
            let template = template.trim_start_matches("jsonpath=");
            match jsonpath::evaluate(template, &whole) {
                Ok(text) => text,
                Err(why) if why.starts_with("error parsing") => {
                    return error(&format!("error: {why}"));
                }
                Err(why) => {
                    return error(&format!(
                        "error: error executing jsonpath \"{template}\": Error executing template: {why}. Printing more information for debugging the template:"
                    ));
                }
            }
        }
    };
    Answer {
        code: u8::from(!missing.is_empty()),
        stdout: text.into_bytes(),
        stderr: missing,
    }
}
