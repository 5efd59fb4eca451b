//! `kubectl wait` and `kubectl rollout status`: look again until it is so, or the time is over.

use serde_json::Value;

use super::{connect, error, kind_called, namespace, not_found, operands, plays, server};
use crate::answer::Answer;
use crate::cobra::{Invocation, duration_ms};
use crate::jsonpath;
use crate::kubernetes::Store as _;
use crate::kubernetes::models::rolled_out;
use crate::kubernetes::value::{condition, text};
use crate::room::{Reply, Room};
use crate::text::lines;

/// What is waited for.
#[derive(Debug, PartialEq, Eq)]
enum Until {
    Condition(String, String),
    Path(String, Option<String>),
    Deleted,
}

fn until(word: &str) -> Result<Until, Answer> {
    if let Some(rest) = word.strip_prefix("condition=") {
        let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
        return Ok(Until::Condition(name.to_lowercase(), value.to_lowercase()));
    }
    if let Some(rest) = word.strip_prefix("jsonpath=") {
        let Some((path, value)) = rest.split_once('}') else {
            return Err(error(&format!(
                "error: jsonpath wait format must be --for=jsonpath='{{.status.readyReplicas}}'=3 or --for=jsonpath='{{.status.readyReplicas}}': {rest}"
            )));
        };
        let value = value.strip_prefix('=').map(ToString::to_string);
        return Ok(Until::Path(format!("{path}}}"), value));
    }
    match word {
        "delete" => Ok(Until::Deleted),
        "create" => Err(Answer::not_played("kubectl wait --for=create")),
        other => Err(error(&format!(
            "error: unrecognized condition: \"{other}\""
        ))),
    }
}

fn met(until: &Until, object: &Value) -> bool {
    match until {
        Until::Deleted => false,
        Until::Condition(name, value) => {
            let all = object
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            all.into_iter().flatten().any(|found| {
                text(found, "/type").to_lowercase() == *name
                    && text(found, "/status").to_lowercase() == *value
            })
        }
        Until::Path(path, value) => jsonpath::evaluate(path, object).is_ok_and(|found| {
            value
                .as_ref()
                .map_or(!found.is_empty(), |value| found == *value)
        }),
    }
}

/// Plays `wait`.
pub(super) fn wait(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["for", "timeout"])?;
    let asked = operands(call)?;
    if asked.named.is_empty() {
        return Err(Answer::not_played(
            "kubectl wait without the names of objects",
        ));
    }
    let wanted = until(call.flag("for").unwrap_or_default())?;
    let timeout = duration_ms(call.flag("timeout").unwrap_or("30s"))
        .map_err(|why| error(&format!("error: {why}")))?;
    let server = server(call)?;
    let room = Room::open()?;
    let space = namespace(call, &server);
    let mut since = None;
    let mut seen: Vec<String> = Vec::new();
    let mut done: Vec<String> = Vec::new();
    Ok(room.play(200, |world| {
        let cluster = match connect(world, &server, 5) {
            Ok(cluster) => cluster,
            Err(reply) => return reply,
        };
        let now = world.now_ms;
        let since = *since.get_or_insert(now);
        let objects = world.objects(cluster);
        let mut left = Vec::new();
        for (word, name) in &asked.named {
            let kind = match kind_called(objects, word) {
                Ok(kind) => kind,
                Err(answer) => return Reply::Done(answer),
            };
            let line = format!("{}/{name} condition met", kind.name());
            if done.contains(&line) {
                continue;
            }
            let place = if kind.namespaced { space.as_str() } else { "" };
            match objects.get(&kind.id(), place, name) {
                // What was there and is gone was waited for; what never was needs no word.
                None if wanted == Until::Deleted => {
                    if seen.contains(&line) {
                        done.push(line);
                    }
                }
                None if place.is_empty() || objects.get("Namespace", "", place).is_some() => {
                    return Reply::Done(error(&not_found(&kind, name)));
                }
                None => {
                    return Reply::Done(error(&format!(
                        "Error from server (NotFound): namespaces \"{place}\" not found"
                    )));
                }
                Some(object) if met(&wanted, object) => done.push(line),
                Some(_) => {
                    seen.push(line);
                    left.push(format!(
                        "timed out waiting for the condition on {}/{name}",
                        kind.plural
                    ));
                }
            }
        }
        if !left.is_empty() && now < since + timeout {
            return Reply::Again(500);
        }
        if let [one] = &mut left[..] {
            one.insert_str(0, "error: ");
        }
        Reply::Done(Answer {
            stdout: lines(&done).into_bytes(),
            code: u8::from(!left.is_empty()),
            stderr: lines(&left),
        })
    }))
}

/// Plays `rollout status`.
pub(super) fn rollout(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["timeout", "watch"])?;
    let asked = operands(call)?;
    let [(word, name)] = &asked.named[..] else {
        return Err(Answer::not_played(
            "kubectl rollout status of anything but one object",
        ));
    };
    let timeout = duration_ms(call.flag("timeout").unwrap_or("0s"))
        .map_err(|why| error(&format!("error: {why}")))?;
    let watch = call.switch("watch", true);
    let server = server(call)?;
    let room = Room::open()?;
    let space = namespace(call, &server);
    let mut since = None;
    let mut said: Vec<String> = Vec::new();
    Ok(room.play(200, |world| {
        let cluster = match connect(world, &server, 5) {
            Ok(cluster) => cluster,
            Err(reply) => return reply,
        };
        let now = world.now_ms;
        let since = *since.get_or_insert(now);
        let objects = world.objects(cluster);
        let kind = match kind_called(objects, word) {
            Ok(kind) => kind,
            Err(answer) => return Reply::Done(answer),
        };
        if !matches!(kind.id().as_str(), "Deployment.apps" | "DaemonSet.apps") {
            return Reply::Done(error(&format!(
                "error: no status viewer has been implemented for {}",
                kind.kind
            )));
        }
        let Some(object) = objects.get(&kind.id(), &space, name) else {
            return Reply::Done(error(&not_found(&kind, name)));
        };
        let late = condition(object, "Progressing")
            .is_some_and(|found| found["reason"] == "ProgressDeadlineExceeded");
        if late {
            return Reply::Done(error(&format!(
                "error: deployment \"{name}\" exceeded its progress deadline"
            )));
        }
        let mut wrong = String::new();
        match rolled_out(object) {
            None => {
                let what = if kind.kind == "DaemonSet" {
                    "daemon set"
                } else {
                    "deployment"
                };
                said.push(format!("{what} \"{name}\" successfully rolled out"));
            }
            Some(waits) => {
                if said.last() != Some(&waits) {
                    said.push(waits);
                }
                if watch && (timeout == 0 || now < since + timeout) {
                    return Reply::Again(500);
                }
                if watch {
                    wrong = "error: timed out waiting for the condition\n".to_string();
                }
            }
        }
        Reply::Done(Answer {
            stdout: lines(&said).into_bytes(),
            code: u8::from(!wrong.is_empty()),
            stderr: wrong,
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::{Until, met, until};
    use serde_json::json;

    #[test]
    fn what_is_waited_for_is_a_condition_a_path_or_an_end() {
        let pod = json!({ "status": { "phase": "Failed", "conditions": [{ "type": "Ready", "status": "False" }] } });
        assert!(met(
            &until("jsonpath={.status.phase}=Failed").unwrap(),
            &pod
        ));
        assert!(!met(
            &until("jsonpath={.status.phase}=Succeeded").unwrap(),
            &pod
        ));
        assert!(met(&until("jsonpath={.status.phase}").unwrap(), &pod));
        assert!(!met(&until("condition=Ready").unwrap(), &pod));
        assert!(met(&until("condition=ready=false").unwrap(), &pod));
        assert_eq!(until("delete"), Ok(Until::Deleted));
        assert!(
            until("bogus")
                .unwrap_err()
                .stderr
                .contains("unrecognized condition: \"bogus\"")
        );
    }
}
