//! `flux reconcile source git`: asks a source to fetch, and waits until it has.

use serde_json::{Value, json};

use super::{POLL, failure, namespace, no_groups, plays, server, timeout};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::front;
use crate::kubernetes::value::{condition, is_true, set, text};
use crate::kubernetes::{Objects, Store as _};
use crate::room::Reply;

const KIND: &str = "GitRepository.source.toolkit.fluxcd.io";

/// Plays a call.
pub(super) fn run(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let Some(name) = call.args.first() else {
        return Ok(failure("GitRepository name is required"));
    };
    let server = server(call)?;
    let mut wait = Waiting::new(&namespace(call), name, timeout(call));
    Ok(front::change(
        &server,
        100,
        |trouble| failure(&no_groups(&server, trouble)),
        |objects, _| wait.look(objects),
    ))
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    namespace: String,
    name: String,
    timeout: u64,
    /// When it asked, and what had been handled before.
    asked: Option<(u64, String)>,
}

impl Waiting {
    pub(super) fn new(namespace: &str, name: &str, timeout: u64) -> Self {
        Self {
            namespace: namespace.to_string(),
            name: name.to_string(),
            timeout,
            asked: None,
        }
    }

    pub(super) fn look(&mut self, objects: &mut Objects) -> Reply {
        let Some(found) = objects.get(KIND, &self.namespace, &self.name).cloned() else {
            return Reply::Done(missing(objects, &self.name));
        };
        let Some((since, before)) = self.asked.clone() else {
            return self.ask(objects, found);
        };
        if text(&found, "/status/lastHandledReconcileAt") != before && is_current(&found) {
            return Reply::Done(Answer {
                stderr: format!(
                    "✔ fetched revision {}\n",
                    text(&found, "/status/artifact/revision")
                ),
                ..Answer::silent()
            });
        }
        if objects.now() >= since + self.timeout {
            // Why it does not come is said by the object only.
            return Reply::Done(failure("context deadline exceeded"));
        }
        Reply::Again(POLL.min(since + self.timeout - objects.now()).max(1))
    }

    fn ask(&mut self, objects: &mut Objects, mut found: Value) -> Reply {
        if found["spec"]["suspend"] == true {
            return Reply::Done(failure("resource is suspended"));
        }
        let (name, namespace) = (&self.name, &self.namespace);
        let before = text(&found, "/status/lastHandledReconcileAt").to_string();
        self.asked = Some((objects.now(), before));
        // To the nanosecond, so that two who ask do not ask the same.
        let moment = format!(
            "{}.{:09}Z",
            objects.date().trim_end_matches('Z'),
            objects.now() % 1_000 * 1_000_000 + objects.revision % 1_000_000
        );
        set(
            &mut found,
            "/metadata/annotations/reconcile.fluxcd.io~1requestedAt",
            json!(moment),
        );
        objects.write(found);
        Reply::Tell(
            format!(
                "► annotating GitRepository {name} in {namespace} namespace\n✔ GitRepository annotated\n◎ waiting for GitRepository reconciliation\n"
            ),
            POLL,
        )
    }
}

/// What flux says of an object, or of a kind, that is not there.
fn missing(objects: &Objects, name: &str) -> Answer {
    let crd = objects.get(
        crate::kubernetes::kinds::CRD,
        "",
        "gitrepositories.source.toolkit.fluxcd.io",
    );
    failure(&if crd.is_some() {
        format!("gitrepositories.source.toolkit.fluxcd.io \"{name}\" not found")
    } else {
        "no matches for kind \"GitRepository\" in version \"source.toolkit.fluxcd.io/v1\""
            .to_string()
    })
}

/// Returns whether an object is what kstatus calls current.
fn is_current(object: &Value) -> bool {
    object["metadata"]["generation"] == object["status"]["observedGeneration"]
        && is_true(object, "Ready")
        && condition(object, "Reconciling").is_none_or(|found| found["status"] != "True")
        && condition(object, "Stalled").is_none_or(|found| found["status"] != "True")
}
