//! `kubectl delete`: by name, or by labels in a namespace. It prints what it deletes before it waits for it to be gone.

use super::{connect, error, kind_called, namespace, not_found, operands, plays, selected, server};
use crate::answer::Answer;
use crate::cobra::{Invocation, duration_ms};
use crate::kubernetes::kinds::Kind;
use crate::kubernetes::value::{place, text};
use crate::kubernetes::{Objects, Store as _};
use crate::room::{Reply, Room};
use crate::text::lines;

/// What is to go: its kind, namespace, name and identity.
struct Going {
    kind: Kind,
    namespace: String,
    name: String,
    uid: String,
}

/// Plays `delete`.
pub(super) fn delete(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["selector", "ignore-not-found", "timeout", "wait"])?;
    let asked = operands(call)?;
    let selector = call.flag("selector").unwrap_or_default();
    if asked.named.is_empty() && (asked.kinds.is_empty() || selector.is_empty()) {
        return Err(error(
            "error: resource(s) were provided, but no name was specified",
        ));
    }
    let timeout = call
        .flag("timeout")
        .map_or(Ok(0), duration_ms)
        .map_err(|why| error(&format!("error: {why}")))?;
    let server = server(call)?;
    let room = Room::open()?;
    let space = namespace(call, &server);
    let mut begun: Option<(u64, Vec<Going>, Vec<String>)> = None;
    Ok(room.play(200, |world| {
        let cluster = match connect(world, &server, 5) {
            Ok(cluster) => cluster,
            Err(reply) => return reply,
        };
        let now = world.now_ms;
        if begun.is_none() {
            let (going, wrong) = match find(world.objects(cluster), call, &asked, &space) {
                Ok(found) => found,
                Err(answer) => return Reply::Done(answer),
            };
            world.through_api(cluster, |objects, _| {
                for one in &going {
                    objects.remove(&one.kind.id(), &one.namespace, &one.name);
                }
            });
            begun = Some((now, going, wrong));
        }
        let Some((since, going, wrong)) = &begun else {
            return Reply::Again(100);
        };
        let objects = world.objects(cluster);
        let left: Vec<&Going> = going
            .iter()
            .filter(|one| {
                objects
                    .get(&one.kind.id(), &one.namespace, &one.name)
                    .is_some_and(|found| text(found, "/metadata/uid") == one.uid)
            })
            .collect();
        let waits = call.switch("wait", true) && !left.is_empty();
        if waits && (timeout == 0 || now < since + timeout) {
            return Reply::Again(500);
        }
        let mut said = said(going);
        if going.is_empty() && wrong.is_empty() && !selector.is_empty() {
            said.push("No resources found".to_string());
        }
        let mut wrong = wrong.clone();
        if waits {
            wrong.extend(left.iter().map(|one| {
                format!(
                    "error: timed out waiting for the condition on {}/{}",
                    one.kind.plural, one.name
                )
            }));
        }
        Reply::Done(Answer {
            stdout: lines(&said).into_bytes(),
            code: u8::from(!wrong.is_empty()),
            stderr: lines(&wrong),
        })
    }))
}

fn said(going: &[Going]) -> Vec<String> {
    let line = |one: &Going| {
        let from = if one.kind.namespaced {
            format!(" from {} namespace", one.namespace)
        } else {
            String::new()
        };
        format!("{} \"{}\" deleted{from}", one.kind.name(), one.name)
    };
    going.iter().map(line).collect()
}

fn find(
    objects: &Objects,
    call: &Invocation,
    asked: &super::Operands,
    space: &str,
) -> Result<(Vec<Going>, Vec<String>), Answer> {
    let (mut going, mut wrong) = (Vec::new(), Vec::new());
    let mut take = |kind: &Kind, object: &serde_json::Value| {
        let (namespace, name) = place(object);
        going.push(Going {
            kind: kind.clone(),
            namespace: namespace.to_string(),
            name: name.to_string(),
            uid: text(object, "/metadata/uid").to_string(),
        });
    };
    for (word, name) in &asked.named {
        let kind = kind_called(objects, word)?;
        let place = if kind.namespaced { space } else { "" };
        match objects.get(&kind.id(), place, name) {
            Some(object) => take(&kind, object),
            None if call.switch("ignore-not-found", false) => {}
            None => wrong.push(not_found(&kind, name)),
        }
    }
    let kinds: Result<Vec<Kind>, Answer> = asked
        .kinds
        .iter()
        .map(|word| kind_called(objects, word))
        .collect();
    for kind in kinds? {
        for object in objects.list(&kind.id()) {
            let within = !kind.namespaced || place(object).0 == space;
            if within && selected(call.flag("selector").unwrap_or_default(), object)? {
                take(&kind, object);
            }
        }
    }
    Ok((going, wrong))
}
