//! How items look: JSON with 1Password's order of members, and the block for people.

use serde_json::{Map, Value, json};

use crate::text::{lines, pretty};
use crate::vault::{Field, Item, Vault};
use crate::world::World;

/// Stands where the tags go; they are printed on one line, which no JSON printer does.
const TAGS: &str = "@@lab-tags@@";

fn part<'a>(name: &'a str, id: &'a str) -> &'a str {
    let fine =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ' ');
    if !name.is_empty() && name.chars().all(fine) {
        name
    } else {
        id
    }
}

/// Returns a field as JSON.
pub(super) fn field(vault: &Vault, item: &Item, field: &Field) -> Value {
    let mut members = Map::new();
    let mut put = |key: &str, value: Value| members.insert(key.to_string(), value);
    put("id", json!(field.id));
    let section = field
        .section
        .as_ref()
        .and_then(|id| item.sections.iter().find(|(known, _)| known == id));
    if let Some((id, label)) = section {
        put("section", section_value(id, label.as_ref()));
    }
    put("type", json!(field.kind));
    if let Some(purpose) = &field.purpose {
        put("purpose", json!(purpose));
    }
    if !field.label.is_empty() {
        put("label", json!(field.label));
    }
    if !field.value.is_empty() {
        put("value", json!(field.value));
    }
    let middle = section.map_or_else(String::new, |(id, label)| {
        format!("{}/", part(label.as_deref().unwrap_or_default(), id))
    });
    let reference = format!(
        "op://{}/{}/{middle}{}",
        part(&vault.name, &vault.id),
        part(&item.title, &item.id),
        part(&field.label, &field.id)
    );
    put("reference", json!(reference));
    Value::Object(members)
}

fn section_value(id: &str, label: Option<&String>) -> Value {
    label.map_or_else(
        || json!({ "id": id }),
        |label| json!({ "id": id, "label": label }),
    )
}

/// Returns an item as JSON; `whole` adds sections and fields.
pub(super) fn item(world: &World, vault: &Vault, item: &Item, whole: bool) -> Value {
    let mut members = Map::new();
    let mut put = |key: &str, value: Value| members.insert(key.to_string(), value);
    put("id", json!(item.id));
    put("title", json!(item.title));
    if !item.tags.is_empty() {
        put(
            "tags",
            json!(format!(
                "{TAGS}{}",
                json!(item.tags).to_string().replace("\",\"", "\", \"")
            )),
        );
    }
    put("version", json!(item.version));
    put("vault", json!({ "id": vault.id, "name": vault.name }));
    put("category", json!(item.category));
    if item.archived {
        put("state", json!("ARCHIVED"));
    }
    put("last_edited_by", json!("5GHHPJK5HZC5BAT7WDUXW57G44"));
    put("created_at", json!(world.rfc3339(item.created_ms)));
    put("updated_at", json!(world.rfc3339(item.updated_ms)));
    if whole {
        if !item.sections.is_empty() {
            let sections: Vec<Value> = item
                .sections
                .iter()
                .map(|(id, label)| section_value(id, label.as_ref()))
                .collect();
            put("sections", json!(sections));
        }
        put(
            "fields",
            json!(
                item.fields
                    .iter()
                    .map(|one| field(vault, item, one))
                    .collect::<Vec<_>>()
            ),
        );
    }
    Value::Object(members)
}

/// Returns JSON as `op` prints it.
pub(super) fn text(value: &Value) -> String {
    let printed = pretty(value, "  ");
    let shown = printed
        .split('\n')
        .map(|line| match line.split_once(&format!("\"{TAGS}")) {
            Some((head, tail)) => {
                let comma = if tail.ends_with(',') { "," } else { "" };
                let tags = tail
                    .trim_end_matches(',')
                    .trim_end_matches('"')
                    .replace("\\\"", "\"");
                format!("{head}{tags}{comma}")
            }
            None => line.to_string(),
        });
    lines(shown)
}

/// Returns the value of a field as people see it.
pub(super) fn concealed(item: &Item, field: &Field, reveal: bool) -> String {
    if field.kind == "CONCEALED" && !reveal {
        format!("[use 'op item get {} --reveal' to reveal]", item.id)
    } else {
        field.value.clone()
    }
}

/// Returns an item for people.
pub(super) fn human(vault: &Vault, item: &Item, reveal: bool) -> String {
    let mut text = format!(
        "ID:          {}\nTitle:       {}\nVault:       {} ({})\nCreated:     now\nUpdated:     now by Lab\nFavorite:    false\n",
        item.id, item.title, vault.name, vault.id
    );
    if !item.tags.is_empty() {
        text += &lines([format!("Tags:        {}", item.tags.join(","))]);
    }
    text += &lines([
        format!("Version:     {}", item.version),
        format!("Category:    {}", item.category),
    ]);
    let shown: Vec<&Field> = item
        .fields
        .iter()
        .filter(|field| !field.value.is_empty())
        .collect();
    if !shown.is_empty() {
        text += "Fields:\n";
    }
    let width = shown
        .iter()
        .map(|field| field.label.len())
        .max()
        .unwrap_or_default()
        + 5;
    for field in shown {
        let label = format!("{}:", field.label);
        text += &lines([format!(
            "  {label:<width$}{}",
            concealed(item, field, reveal)
        )]);
    }
    text
}
