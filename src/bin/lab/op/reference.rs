//! `op://` references: `op read` and `op inject`.

use std::env;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{ask, error, find, plays, vault};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::room::Room;
use crate::world::World;

/// The parts of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    vault: String,
    item: String,
    section: Option<String>,
    field: String,
    attribute: Option<String>,
}

/// Reads a reference.
pub(super) fn parse(text: &str) -> Result<Reference, String> {
    let invalid = |why: &str| format!("invalid secret reference '{text}': {why}");
    let body = text.strip_prefix("op://").unwrap_or(text);
    let (path, query) = body
        .split_once('?')
        .map_or((body, None), |(path, query)| (path, Some(query)));
    let fine = |letter: &char| {
        letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ' ' | '/')
    };
    if let Some(letter) = path.chars().find(|letter| !fine(letter)) {
        return Err(invalid(&format!(
            "invalid character in secret reference: '{letter}'"
        )));
    }
    let parts: Vec<&str> = path.split('/').collect();
    let attribute = query.map(|query| query.split('=').next_back().unwrap_or_default().to_string());
    let own = |word: &str| word.to_string();
    match parts[..] {
        [vault, item, field] if !field.is_empty() => Ok(Reference {
            vault: own(vault),
            item: own(item),
            section: None,
            field: own(field),
            attribute,
        }),
        [vault, item, section, field] if !field.is_empty() => Ok(Reference {
            vault: own(vault),
            item: own(item),
            section: Some(own(section)),
            field: own(field),
            attribute,
        }),
        [_, _, _, _, _, ..] => Err(invalid(
            "too many '/': secret references should match op://<vault>/<item>[/<section>]/<field>",
        )),
        _ => Err(invalid(
            "too few '/': secret references should have at least vault, item and field specified",
        )),
    }
}

/// Why a reference has no value.
enum Miss {
    /// No such vault, no such item, several items.
    Item(String),
    /// No such field.
    Field(String),
}

fn resolve(world: &World, wanted: &Reference) -> Result<String, Miss> {
    let outer = vault(world, &wanted.vault).map_err(Miss::Item)?;
    let (outer, inner) = find(world, Some(outer), &wanted.item, false).map_err(Miss::Item)?;
    let item = &world.vaults[outer].items[inner];
    let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    let section = |id: Option<&String>| {
        let Some(wanted) = &wanted.section else {
            return true;
        };
        let known = id.and_then(|id| item.sections.iter().find(|(known, _)| known == id));
        known.is_some_and(|(id, label)| {
            id == wanted || label.as_deref().is_some_and(|label| same(label, wanted))
        })
    };
    let found = item.fields.iter().find(|field| {
        (same(&field.label, &wanted.field) || field.id == wanted.field)
            && section(field.section.as_ref())
    });
    let missing = || {
        Miss::Field(format!(
            "item '{}/{}' does not have a field '{}'",
            wanted.vault, wanted.item, wanted.field
        ))
    };
    let field = found.ok_or_else(missing)?;
    Ok(match wanted.attribute.as_deref() {
        Some("type") => field.kind.to_lowercase(),
        Some("id") => field.id.clone(),
        Some("purpose") => field.purpose.clone().unwrap_or_default(),
        _ => field.value.clone(),
    })
}

/// Plays `read`.
pub(super) fn read(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["no-newline"])?;
    let text = call.args[0].clone();
    let wanted = parse(&text).map_err(|why| error(&why))?;
    Ok(ask(room, |world| {
        let value = resolve(world, &wanted).map_err(|miss| match miss {
            Miss::Item(why) => format!(
                "could not read secret '{text}': could not get item {}/{}: {why}",
                wanted.vault, wanted.item
            ),
            Miss::Field(why) => format!("could not read secret '{text}': {why}"),
        })?;
        let newline = if call.switch("no-newline", false) || value.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        Ok(Answer::out(format!("{value}{newline}")))
    }))
}

/// Plays `inject`.
pub(super) fn inject(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["in-file", "out-file", "force", "file-mode"])?;
    let template = match call.flag("in-file") {
        Some(file) => fs::read_to_string(file)
            .map_err(|why| error(&format!("cannot open input file: open {file}: {why}")))?,
        None => super::item::piped()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| error("expected data on stdin but none found"))?,
    };
    let out = call.flag("out-file").map(ToString::to_string);
    if let Some(file) = &out
        && Path::new(file).exists()
        && !call.switch("force", false)
    {
        return Err(error(&format!(
            "cannot write to {file}: file already exists"
        )));
    }
    let pieces = pieces(&template, &variable).map_err(|why| error(&why))?;
    let answer = ask(room, |world| {
        let mut text = String::new();
        for piece in &pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Secret(wanted) => text.push_str(&resolve(world, wanted).map_err(|miss| match miss {
                    Miss::Item(why) if why.contains("isn't an item") => {
                        let id = vault(world, &wanted.vault).map(|index| world.vaults[index].id.clone()).unwrap_or_default();
                        format!("could not resolve item UUID for item {0}: could not find item {0} in vault {id}", wanted.item)
                    }
                    Miss::Item(why) | Miss::Field(why) => why,
                })?),
            }
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(Answer::out(text))
    });
    let Some(file) = out.filter(|_| answer.code == 0) else {
        return Ok(answer);
    };
    let mode = call
        .flag("file-mode")
        .and_then(|mode| u32::from_str_radix(mode, 8).ok())
        .unwrap_or(0o600);
    let opened = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(&file);
    opened
        .and_then(|mut opened| opened.write_all(&answer.stdout))
        .map_err(|why| error(&format!("open {file}: {why}")))?;
    let full = fs::canonicalize(&file).map_or(file, |full| full.display().to_string());
    Ok(Answer::out(format!("{full}\n")))
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that stays.
    Text(String),
    /// A reference.
    Secret(Reference),
}

fn variable(name: &str) -> Option<String> {
    env::vars()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// Takes a template apart: braces, bare references (in comments too), variables.
pub(super) fn pieces(
    template: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Piece>, String> {
    let text = variables(template, variable)?;
    let (mut found, mut plain) = (Vec::new(), String::new());
    let mut left = text.as_str();
    while !left.is_empty() {
        if let Some(rest) = left.strip_prefix("{{") {
            let Some(end) = rest.find("}}") else {
                plain.push_str("{{");
                left = rest;
                continue;
            };
            let inside = rest[..end].trim();
            left = &rest[end + 2..];
            if inside.starts_with("op://") {
                found.push(Piece::Text(std::mem::take(&mut plain)));
                found.push(Piece::Secret(parse(inside)?));
            } else if let Some(literal) = inside
                .strip_prefix('"')
                .and_then(|inside| inside.strip_suffix('"'))
            {
                plain.push_str(literal);
            } else {
                let letter = inside.chars().next().unwrap_or('}');
                return Err(format!("parsing error at 1:1: invalid character: {letter}"));
            }
            continue;
        }
        let before = plain.chars().next_back();
        let bound = before.is_none_or(|letter| {
            !letter.is_ascii_alphanumeric() && !matches!(letter, '-' | '+' | '\\' | '.')
        });
        if bound && let Some(rest) = left.strip_prefix("op://") {
            let fine = |letter: char| {
                letter.is_ascii_alphanumeric()
                    || matches!(letter, '-' | '?' | '_' | '.' | '/' | '=')
            };
            let end = rest
                .find(|letter: char| !fine(letter))
                .unwrap_or(rest.len());
            found.push(Piece::Text(std::mem::take(&mut plain)));
            found.push(Piece::Secret(parse(&left[..end + 5])?));
            left = &rest[end..];
            continue;
        }
        let letter = left.chars().next().expect("something is left");
        plain.push(letter);
        left = &left[letter.len_utf8()..];
    }
    found.push(Piece::Text(plain));
    Ok(found)
}

fn variables(template: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let starts = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    let name = |text: &str| -> usize {
        text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(text.len())
    };
    let mut text = String::new();
    let mut left = template;
    while let Some(at) = left.find('$') {
        text.push_str(&left[..at]);
        left = &left[at + 1..];
        let braced = left
            .strip_prefix('{')
            .filter(|rest| rest.starts_with(starts))
            .and_then(|rest| {
                let end = rest.find('}')?;
                let (inside, after) = (&rest[..end], &rest[end + 1..]);
                let (key, default) = inside
                    .split_once(":-")
                    .map_or((inside, None), |(key, default)| (key, Some(default)));
                Some((key, default, after))
            });
        let bare = left
            .starts_with(starts)
            .then(|| (&left[..name(left)], None, &left[name(left)..]));
        let Some((key, default, after)) = braced.or(bare) else {
            text.push('$');
            continue;
        };
        let value = variable(key).or_else(|| default.map(ToString::to_string));
        text.push_str(
            &value.ok_or_else(|| format!("no value was supplied for template variable '{key}'"))?,
        );
        left = after;
    }
    Ok(text + left)
}
