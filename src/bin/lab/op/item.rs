//! `op item …`.

use std::fs;
use std::io::Read as _;

use rustix::fs::{FileType, fstat};
use serde_json::{Value, json};

use super::{ask, error, find, is_json, plays, show, wanted_vault};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::fault::Kind;
use crate::room::Room;
use crate::vault::{Field, Item};
use crate::world::World;

/// Returns what is piped in; anything but a pipe counts as nothing.
pub(super) fn piped() -> Option<String> {
    let stdin = std::io::stdin();
    let kind = FileType::from_raw_mode(fstat(&stdin).ok()?.st_mode);
    if kind != FileType::Fifo {
        return None;
    }
    let mut text = String::new();
    stdin.lock().read_to_string(&mut text).ok()?;
    Some(text)
}

/// Plays `item get`.
pub(super) fn get(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["fields", "reveal", "include-archive"])?;
    let query = call
        .args
        .first()
        .cloned()
        .ok_or_else(|| error("accepts 1 arg(s), received 0"))?;
    if query == "-" {
        return Err(Answer::not_played("op item get -"));
    }
    let fields: Vec<String> = call
        .every("fields")
        .iter()
        .flat_map(|list| list.split(','))
        .map(ToString::to_string)
        .collect();
    let archived = call.switch("include-archive", false);
    Ok(ask(room, |world| {
        let place = wanted_vault(world, call)?;
        let (outer, inner) = find(world, place, &query, archived)?;
        let (vault, item) = (&world.vaults[outer], &world.vaults[outer].items[inner]);
        let reveal = call.switch("reveal", false);
        if !fields.is_empty() {
            return some_fields(call, vault, item, &fields, reveal);
        }
        Ok(Answer::out(if is_json(call) {
            show::text(&show::item(world, vault, item, true))
        } else {
            show::human(vault, item, reveal)
        }))
    }))
}

fn some_fields(
    call: &Invocation,
    vault: &crate::vault::Vault,
    item: &Item,
    wanted: &[String],
    reveal: bool,
) -> Result<Answer, String> {
    let mut found: Vec<&Field> = Vec::new();
    for word in wanted {
        if let Some(kind) = word.strip_prefix("type=") {
            found.extend(
                item.fields
                    .iter()
                    .filter(|field| field.kind.eq_ignore_ascii_case(kind)),
            );
            continue;
        }
        let label = word.strip_prefix("label=").unwrap_or(word);
        let field = item
            .fields
            .iter()
            .find(|field| field.label.eq_ignore_ascii_case(label) || field.id == label);
        found.push(
            field.ok_or_else(|| {
                format!("\"{label}\" isn't a field in the \"{}\" item", item.title)
            })?,
        );
    }
    if is_json(call) {
        let mut values: Vec<Value> = found
            .iter()
            .map(|field| show::field(vault, item, field))
            .collect();
        let value = if values.len() == 1 {
            values.remove(0)
        } else {
            json!(values)
        };
        return Ok(Answer::out(show::text(&value)));
    }
    let quoted = |value: String| {
        if value.contains([',', '"', '\n']) {
            format!("\"{}\"", value.replace('"', "\"\""))
        } else {
            value
        }
    };
    let words: Vec<String> = found
        .iter()
        .map(|field| quoted(show::concealed(item, field, reveal)))
        .collect();
    Ok(Answer::out(words.join(",") + "\n"))
}

/// Plays `item list`.
pub(super) fn list(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["categories", "tags", "include-archive", "long"])?;
    let tags = call.list("tags");
    let wanted: Vec<String> = call
        .list("categories")
        .iter()
        .map(|name| category(name))
        .collect();
    Ok(ask(room, |world| {
        let place = wanted_vault(world, call)?;
        let vaults = world
            .vaults
            .iter()
            .enumerate()
            .filter(|(index, _)| place.is_none_or(|place| place == *index));
        let found: Vec<(&crate::vault::Vault, &Item)> = vaults
            .flat_map(|(_, vault)| vault.items.iter().map(move |item| (vault, item)))
            .filter(|(_, item)| !item.archived || call.switch("include-archive", false))
            .filter(|(_, item)| tags.is_empty() || item.tags.iter().any(|tag| tags.contains(tag)))
            .filter(|(_, item)| wanted.is_empty() || wanted.contains(&item.category))
            .collect();
        if is_json(call) {
            let values: Vec<Value> = found
                .iter()
                .map(|(vault, item)| show::item(world, vault, item, false))
                .collect();
            return Ok(Answer::out(show::text(&json!(values))));
        }
        if found.is_empty() {
            return Ok(Answer::silent());
        }
        let mut rows = vec![crate::text::row(&["ID", "TITLE", "VAULT", "EDITED"])];
        rows.extend(
            found.iter().map(|(vault, item)| {
                crate::text::row(&[&item.id, &item.title, &vault.name, "now"])
            }),
        );
        Ok(Answer::out(crate::text::table(&rows, 4)))
    }))
}

fn category(name: &str) -> String {
    name.to_uppercase().replace(' ', "_")
}

/// What a new item, or a new version of one, is made from.
struct Draft {
    /// The item object from a pipe or a file.
    template: Option<Value>,
    /// `[section.]field[[type]]=value`.
    assignments: Vec<String>,
}

fn draft(call: &Invocation, words: &[String], verb: &str) -> Result<Draft, Answer> {
    let stdin = piped();
    let template = call.flag("template");
    let stdin = stdin.filter(|text| !text.trim().is_empty());
    if stdin.is_some() && template.is_some() {
        let what = if verb == "create" {
            "create an item"
        } else {
            "edit"
        };
        return Err(error(&format!(
            "cannot {what} from template and stdin at the same time"
        )));
    }
    let text = match (stdin, template) {
        (Some(text), _) => Some(text),
        (None, Some(file)) => Some(
            fs::read_to_string(file)
                .map_err(|why| error(&format!("cannot read template: open {file}: {why}")))?,
        ),
        (None, None) => None,
    };
    let template = match text {
        None => None,
        Some(text) => Some(
            serde_json::from_str::<Value>(&text)
                .ok()
                .filter(Value::is_object)
                .ok_or_else(|| error("unable to process line 1: invalid JSON in piped input"))?,
        ),
    };
    let assignments: Vec<String> = words.iter().filter(|word| *word != "-").cloned().collect();
    Ok(Draft {
        template,
        assignments,
    })
}

/// Plays `item create`.
pub(super) fn create(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(
        call,
        &["category", "title", "tags", "template", "dry-run", "reveal"],
    )?;
    let draft = draft(call, &call.args, "create")?;
    if draft.template.is_some() && call.flag("category").is_some() {
        return Err(error(
            "unable to process line 1: cannot provide the item category with both the JSON template and the `--category` flag - only specify the category in one location",
        ));
    }
    if draft.template.is_none() && call.flag("category").is_none() {
        return Err(error("provide the item category with '--category' flag"));
    }
    Ok(ask(room, |world| {
        let template = draft.template.clone().unwrap_or_else(|| json!({}));
        let vault = match (wanted_vault(world, call)?, &template["vault"]) {
            (Some(vault), _) => vault,
            (None, Value::Object(named)) => {
                let query = named
                    .get("id")
                    .or_else(|| named.get("name"))
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                super::vault(world, query)?
            }
            // The personal vault, without a word.
            (None, _) => super::vault(world, "Private").unwrap_or_default(),
        };
        let mut item = from_template(world, &template)?;
        if let Some(title) = call.flag("title") {
            item.title = title.to_string();
        }
        if let Some(name) = call.flag("category") {
            item.category = category(name);
        }
        if call.flag("tags").is_some() {
            item.tags = call.list("tags");
        }
        assign(world, &mut item, &draft.assignments)?;
        let now = world.now_ms;
        item.id = world.id(&format!("item {} {now}", world.calls));
        (item.version, item.created_ms, item.updated_ms) = (1, now, now);
        if !call.switch("dry-run", false) {
            world.vaults[vault].remember(&item);
            world.vaults[vault].items.push(item.clone());
            world.vaults[vault].content_version += 1;
            if world.fires(Kind::OpCreateLost, "") {
                return Err("network error: read tcp 10.25.10.5:54312->104.18.10.52:443: read: connection reset by peer".to_string());
            }
        }
        Ok(shown(world, call, vault, &item))
    }))
}

fn shown(world: &World, call: &Invocation, vault: usize, item: &Item) -> Answer {
    let vault = &world.vaults[vault];
    Answer::out(if is_json(call) {
        show::text(&show::item(world, vault, item, true))
    } else {
        show::human(vault, item, call.switch("reveal", false))
    })
}

/// Reads an item object.
fn from_template(world: &World, template: &Value) -> Result<Item, String> {
    let word = |value: &Value, key: &str| value[key].as_str().map(ToString::to_string);
    let mut item = Item {
        title: word(template, "title").unwrap_or_default(),
        category: word(template, "category").unwrap_or_else(|| "SECURE_NOTE".to_string()),
        fields: vec![crate::world::build::notes()],
        ..Item::default()
    };
    for tag in template["tags"].as_array().into_iter().flatten() {
        item.tags.extend(tag.as_str().map(ToString::to_string));
    }
    for section in template["sections"].as_array().into_iter().flatten() {
        let id = word(section, "id").unwrap_or_default();
        let label = word(section, "label").filter(|label| !label.is_empty());
        if item.sections.iter().all(|(known, _)| *known != id) {
            item.sections.push((id, label));
        }
    }
    for (number, field) in template["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let label = word(field, "label").unwrap_or_default();
        let fresh = || world.id(&format!("field {} {number} {label}", world.calls));
        let value = match &field["value"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let section = word(&field["section"], "id");
        if let Some(id) = &section
            && item.sections.iter().all(|(known, _)| known != id)
        {
            item.sections
                .push((id.clone(), word(&field["section"], "label")));
        }
        let read = Field {
            id: word(field, "id")
                .filter(|id| !id.is_empty())
                .unwrap_or_else(fresh),
            section,
            kind: word(field, "type").unwrap_or_else(|| "CONCEALED".to_string()),
            purpose: word(field, "purpose").filter(|purpose| !purpose.is_empty()),
            label,
            value,
        };
        if read.id == "notesPlain" {
            item.fields[0].value = read.value;
        } else {
            item.fields.push(read);
        }
    }
    let has_password = item
        .fields
        .iter()
        .any(|field| field.purpose.as_deref() == Some("PASSWORD") && !field.value.is_empty());
    if item.category == "PASSWORD" && !has_password {
        return Err("unable to process line 1: Validation: (validateVaultItem failed to Validate), Couldn't validate the item: \"[ItemValidator] has found 1 errors, 0 warnings: \nDetails:\nErrors:\n{1. Password item requires ps value}\"".to_string());
    }
    Ok(item)
}

/// Applies assignments of the command line.
fn assign(world: &World, item: &mut Item, assignments: &[String]) -> Result<(), String> {
    for (number, assignment) in assignments.iter().enumerate() {
        let (head, value) = assignment
            .split_once('=')
            .ok_or_else(|| format!("\"{assignment}\" is not a valid assignment: expected [<section>.]<field>[[<fieldType>]]=<value>"))?;
        let (name, kind) = match head.strip_suffix(']').and_then(|head| head.split_once('[')) {
            Some((name, kind)) => (name, kind),
            None => (head, ""),
        };
        let label = name.rsplit('.').next().unwrap_or(name).to_string();
        if kind == "delete" {
            item.fields.retain(|field| field.label != label);
            continue;
        }
        let new_kind = match kind {
            "" | "password" | "concealed" => "CONCEALED",
            "text" | "string" => "STRING",
            "url" => "URL",
            "email" => "EMAIL",
            "date" => "DATE",
            other => return Err(format!("\"{other}\" isn't a valid field type")),
        };
        match item.fields.iter_mut().find(|field| field.label == label) {
            Some(field) => field.value = value.to_string(),
            None => item.fields.push(Field {
                id: world.id(&format!("assigned {} {number}", world.calls)),
                kind: new_kind.to_string(),
                label,
                value: value.to_string(),
                ..Field::default()
            }),
        }
    }
    Ok(())
}

/// Plays `item edit`.
pub(super) fn edit(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["title", "tags", "template", "dry-run", "reveal"])?;
    let draft = draft(call, &call.args[1..], "edit")?;
    let query = call.args[0].clone();
    Ok(ask(room, |world| {
        let place = wanted_vault(world, call)?;
        let (outer, inner) = find(world, place, &query, false)?;
        let mut item = world.vaults[outer].items[inner].clone();
        if let Some(template) = &draft.template {
            if template.get("updated_at").is_none() {
                return Err("unable to process line 1: Validation: (validateVaultItem failed to Validate), Couldn't validate the item: \"[ItemValidator] has found 1 errors, 0 warnings: \nDetails:\nErrors:\n{1. Item updatedAt must be > 1970-01-01}\"".to_string());
            }
            let new = from_template(world, template)?;
            let notes = item
                .fields
                .first()
                .map(|notes| notes.value.clone())
                .unwrap_or_default();
            item = Item {
                id: item.id,
                version: item.version,
                created_ms: item.created_ms,
                ..new
            };
            if item.fields[0].value.is_empty() {
                item.fields[0].value = notes;
            }
        }
        if let Some(title) = call.flag("title") {
            item.title = title.to_string();
        }
        if call.flag("tags").is_some() {
            item.tags = call.list("tags");
        }
        assign(world, &mut item, &draft.assignments)?;
        item.version += 1;
        item.updated_ms = world.now_ms;
        if !call.switch("dry-run", false) {
            world.vaults[outer].remember(&item);
            world.vaults[outer].items[inner] = item.clone();
            world.vaults[outer].content_version += 1;
        }
        Ok(shown(world, call, outer, &item))
    }))
}

/// Plays `item delete`.
pub(super) fn delete(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["archive"])?;
    let query = call
        .args
        .first()
        .cloned()
        .ok_or_else(|| error("accepts 1 arg(s), received 0"))?;
    Ok(ask(room, |world| {
        let place = wanted_vault(world, call)?;
        let (outer, inner) = find(world, place, &query, false)?;
        if call.switch("archive", false) {
            world.vaults[outer].items[inner].archived = true;
        } else {
            world.vaults[outer].items.remove(inner);
        }
        world.vaults[outer].content_version += 1;
        Ok(Answer::silent())
    }))
}
