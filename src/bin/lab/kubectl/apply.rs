//! `kubectl apply --server-side`: objects from stdin, a file, or an address that the lab knows.

use std::fs;
use std::io::Read as _;

use serde_json::Value;

use super::{error, namespace, plays, server};
use crate::answer::Answer;
use crate::client::NoWay;
use crate::cobra::Invocation;
use crate::kubernetes::api::{self, How, Refusal};
use crate::kubernetes::charts;
use crate::kubernetes::value::{place, text};
use crate::kubernetes::{Objects, Outside};
use crate::room::{Reply, Room};
use crate::text::lines;

/// Plays `apply`.
pub(super) fn apply(call: &Invocation) -> Result<Answer, Answer> {
    plays(
        call,
        &[
            "server-side",
            "force-conflicts",
            "field-manager",
            "filename",
            "dry-run",
        ],
    )?;
    if !call.switch("server-side", false) {
        return Err(Answer::not_played("kubectl apply without --server-side"));
    }
    let dry = match call.flag("dry-run") {
        None | Some("none") => false,
        Some("server") => true,
        Some(other) => {
            return Err(Answer::not_played(&format!(
                "kubectl apply --dry-run={other}"
            )));
        }
    };
    if call.flag("output").is_some() {
        return Err(Answer::not_played("kubectl apply -o"));
    }
    let files = call.every("filename");
    let [file] = files[..] else {
        return Err(if files.is_empty() {
            error("error: must specify one of -f and -k")
        } else {
            Answer::not_played("kubectl apply of several files")
        });
    };
    let source = if file == "-" { "STDIN" } else { file };
    let objects = read(file, source)?;
    let server = server(call)?;
    let room = Room::open()?;
    let how = How {
        manager: call.flag("field-manager").unwrap_or("kubectl"),
        force: call.switch("force-conflicts", false),
        dry,
    };
    let space = namespace(call, &server);
    Ok(room.play(200, |world| {
        let cluster = match server.reach(world) {
            Ok(cluster) => cluster,
            Err(NoWay::Unauthorized) => return Reply::Done(unvalidated(source, "the server has asked for the client to provide credentials")),
            Err(way) => {
                let why = format!("Get \"{}/openapi/v2?timeout=32s\": {}", server.url, way.why());
                return Reply::After(way.takes(), unvalidated(source, &why));
            }
        };
        let of_flag = call.flag("namespace").filter(|name| !name.is_empty());
        let differs = objects.iter().map(|object| place(object).0).find(|own| of_flag.is_some_and(|flag| !own.is_empty() && flag != *own));
        if let (Some(own), Some(flag)) = (differs, of_flag) {
            return Reply::Done(error(&format!(
                "error: the namespace from the provided object \"{own}\" does not match the namespace \"{flag}\". You must pass '--namespace={own}' to perform this operation."
            )));
        }
        Reply::Done(world.through_api(cluster, |store, outside| all(store, outside, &objects, &space, how, source)))
    }))
}

fn unvalidated(source: &str, why: &str) -> Answer {
    error(&format!(
        "error: error validating \"{source}\": error validating data: failed to download openapi: {why}; if you choose to ignore these errors, turn validation off with --validate=false"
    ))
}

fn read(file: &str, source: &str) -> Result<Vec<Value>, Answer> {
    let given = if file == "-" {
        let mut given = String::new();
        std::io::stdin()
            .read_to_string(&mut given)
            .map_err(|why| error(&format!("error: error reading STDIN: {why}")))?;
        given
    } else if file.contains("://") {
        return charts::at_address(file).ok_or_else(|| {
            error(&format!(
                "error: unable to read URL \"{file}\", server reported 404 Not Found, status code=404"
            ))
        });
    } else {
        fs::read_to_string(file)
            .map_err(|_| error(&format!("error: the path \"{file}\" does not exist")))?
    };
    let all: Vec<Value> = serde_yaml::from_multiple(&given).map_err(|why| {
        error(&format!(
            "error: error parsing {source}: error converting YAML to JSON: yaml: {why}"
        ))
    })?;
    let all: Vec<Value> = all.into_iter().filter(|one| !one.is_null()).collect();
    if all.is_empty() {
        return Err(error("error: no objects passed to apply"));
    }
    for object in &all {
        let mut missing = Vec::new();
        for field in ["apiVersion", "kind"] {
            if text_of(object, field).is_empty() {
                missing.push(format!("{field} not set"));
            }
        }
        if !missing.is_empty() {
            return Err(error(&format!(
                "error: error validating \"{source}\": error validating data: [{}]; if you choose to ignore these errors, turn validation off with --validate=false",
                missing.join(", ")
            )));
        }
        if text(object, "/kind").ends_with("List") && object.get("items").is_some() {
            return Err(Answer::not_played("kubectl apply of a List"));
        }
    }
    Ok(all)
}

fn text_of<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Applies all; kinds are looked up before anything is applied, so that a definition and its object need two calls.
fn all(
    store: &mut Objects,
    outside: &Outside,
    objects: &[Value],
    space: &str,
    how: How<'_>,
    source: &str,
) -> Answer {
    let (mut done, mut wrong) = (Vec::new(), Vec::new());
    let mut known = Vec::new();
    for object in objects {
        let mut object = object.clone();
        let own = place(&object).0.to_string();
        match api::locate(store, &mut object, space) {
            Ok(kind) => known.push((kind, object)),
            Err(refusal) => wrong.push(format!(
                "resource mapping not found for name: \"{}\" namespace: \"{own}\" from \"{source}\": {refusal}\nensure CRDs are installed first",
                place(&object).1
            )),
        }
    }
    for (kind, object) in known {
        let name = place(&object).1.to_string();
        match api::apply(store, outside, object, space, how) {
            Ok(_) => {
                let dry = if how.dry { " (server dry run)" } else { "" };
                done.push(format!("{}/{name} serverside-applied{dry}", kind.name()));
            }
            Err(refusal) => wrong.push(told(&refusal)),
        }
    }
    // One error is called so; several are a list.
    if let [one] = &mut wrong[..]
        && !one.starts_with("Error from server")
        && !one.starts_with("The ")
    {
        one.insert_str(0, "error: ");
    }
    Answer {
        stdout: lines(&done).into_bytes(),
        code: u8::from(!wrong.is_empty()),
        stderr: lines(&wrong),
    }
}

fn told(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NoNamespace(_) => format!("Error from server (NotFound): {refusal}"),
        Refusal::Terminating(_) => format!("Error from server (Forbidden): {refusal}"),
        Refusal::Untyped(_) => format!("Error from server: {refusal}"),
        Refusal::NoKind { .. } | Refusal::Invalid(_) => refusal.to_string(),
        Refusal::Conflict(_) => format!("{refusal}{CONFLICT}"),
    }
}

const CONFLICT: &str = "
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";
