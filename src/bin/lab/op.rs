//! The played 1Password CLI, `op` 2.32: vaults, items, references, and a session that may end.
//!
//! Results go to stdout, everything else to stderr; on failure stdout is empty. The server is the world's vaults; every
//! call that asks it passes the [`gate`], where sessions expire and limits are felt.

mod item;
mod reference;
mod show;

use serde_json::json;

use crate::answer::Answer;
use crate::clock;
use crate::cobra::{Invocation, Tool, parse};
use crate::fault::Kind;
use crate::room::{Reply, Room};
use crate::text::{lines, pretty};
use crate::vault::{Item, Over};
use crate::world::World;

/// The flags that every command has and the lab plays.
const COMMON: [&str; 8] = [
    "format",
    "help",
    "cache",
    "no-color",
    "iso-timestamps",
    "debug",
    "encoding",
    "vault",
];

/// How long a call of the server takes, in milliseconds of lab time.
const LATENCY: u64 = 800;

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let call = match parse(Tool::Op, words) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    if call.path.is_empty() {
        return Answer::out("2.32.1\n");
    }
    let room = match Room::open() {
        Ok(room) => room,
        Err(answer) => return answer,
    };
    let played = match call.path.as_str() {
        "signin" => signin(&call, &room),
        "signout" => signout(&call, &room),
        "whoami" => whoami(&call, &room),
        "account list" => accounts(&call),
        "vault get" => vault_get(&call, &room),
        "vault list" => vault_list(&call, &room),
        "item get" => item::get(&call, &room),
        "item list" => item::list(&call, &room),
        "item create" => item::create(&call, &room),
        "item edit" => item::edit(&call, &room),
        "item delete" => item::delete(&call, &room),
        "read" => reference::read(&call, &room),
        "inject" => reference::inject(&call, &room),
        path => Err(Answer::not_played(&format!("op {path}"))),
    };
    played.unwrap_or_else(|answer| answer)
}

fn plays(call: &Invocation, own: &[&str]) -> Result<(), Answer> {
    let all: Vec<&str> = COMMON.iter().chain(own).copied().collect();
    call.plays(&all)?;
    match format(call).as_str() {
        "json" | "human-readable" => Ok(()),
        other => Err(error(&format!(
            "invalid argument \"{other}\" for \"--format\" flag: must be one of [human-readable json]"
        ))),
    }
}

fn format(call: &Invocation) -> String {
    let given = call.flag("format").map(ToString::to_string);
    given
        .or_else(|| std::env::var("OP_FORMAT").ok())
        .unwrap_or_else(|| "human-readable".to_string())
}

fn is_json(call: &Invocation) -> bool {
    format(call) == "json"
}

/// Returns a failure as `op` prints it.
fn error(text: &str) -> Answer {
    Answer::fail(1, format!("{}{text}\n", clock::op_error_prefix()))
}

/// Lets a call through to the server, or says why not.
fn gate(world: &mut World) -> Result<(), String> {
    let now = world.now_ms;
    world.session.calls += 1;
    let calls = world.session.calls;
    let due = |kind: Kind, after: u64, world: &mut World| {
        let fault = world
            .faults
            .iter_mut()
            .find(|fault| fault.kind == kind && fault.fired == 0 && calls > after)?;
        fault.fired += 1;
        Some(fault.number)
    };
    let patience = world
        .faults
        .iter()
        .find(|fault| fault.kind == Kind::OpExpired)
        .map_or(0, |fault| fault.number);
    if due(Kind::OpExpired, patience, world).is_some() {
        world.session.over = Over::Expired;
    }
    if let Some(seconds) = due(Kind::OpExpiredHeals, 3, world) {
        world.session.over = Over::Until(now + seconds * 1_000);
    }
    if let Some(seconds) = due(Kind::OpRateLimit, 2, world) {
        world.session.limited_ms = Some(now + seconds * 1_000);
    }
    match world.session.over {
        Over::Until(end) if end <= now => world.session.over = Over::No,
        Over::No => {}
        Over::SignedOut => {
            return Err(
                "You are not currently signed in. Please run `op signin --help` for instructions"
                    .to_string(),
            );
        }
        Over::Expired | Over::Until(_) => {
            return Err("session expired, sign in to create a new session".to_string());
        }
    }
    if world.session.limited_ms.is_some_and(|end| now < end) {
        return Err("(429) Too Many Requests: You've reached the maximum number of this type of requests this service account is allowed to make. Please retry in 59 minutes or try other requests.".to_string());
    }
    Ok(())
}

/// Plays a call that asks the server.
fn ask(room: &Room, mut work: impl FnMut(&mut World) -> Result<Answer, String>) -> Answer {
    room.play(LATENCY, |world| {
        let done = gate(world).and_then(|()| work(world));
        Reply::Done(done.unwrap_or_else(|why| error(&why)))
    })
}

/// Finds a vault by id or name.
fn vault(world: &World, query: &str) -> Result<usize, String> {
    let by_id = world.vaults.iter().position(|vault| vault.id == query);
    by_id
        .or_else(|| {
            world
                .vaults
                .iter()
                .position(|vault| vault.name.eq_ignore_ascii_case(query))
        })
        .ok_or_else(|| {
            format!(
                "\"{query}\" isn't a vault in this account. Specify the vault with its ID or name."
            )
        })
}

/// Finds an item by id or title, in one vault or in all.
fn find(
    world: &World,
    place: Option<usize>,
    query: &str,
    archived: bool,
) -> Result<(usize, usize), String> {
    let all = world
        .vaults
        .iter()
        .enumerate()
        .filter(|(index, _)| place.is_none_or(|place| place == *index));
    let items: Vec<(usize, usize, &Item)> = all
        .flat_map(|(outer, vault)| {
            vault
                .items
                .iter()
                .enumerate()
                .map(move |(inner, item)| (outer, inner, item))
        })
        .collect();
    if let Some((outer, inner, _)) = items.iter().find(|(.., item)| item.id == query) {
        return Ok((*outer, *inner));
    }
    let named: Vec<&(usize, usize, &Item)> = items
        .iter()
        .filter(|(.., item)| item.title.eq_ignore_ascii_case(query) && (archived || !item.archived))
        .collect();
    match named[..] {
        [] => Err(match place {
            Some(place) => format!(
                "\"{query}\" isn't an item in the \"{}\" vault. Specify the item with its UUID, name, or domain.",
                world.vaults[place].name
            ),
            None => format!(
                "\"{query}\" isn't an item. Specify the item with its UUID, name, or domain."
            ),
        }),
        [(outer, inner, _)] => Ok((*outer, *inner)),
        _ => {
            let mut copies: Vec<String> = named
                .iter()
                .map(|(outer, _, item)| {
                    format!(
                        "\n\t* for the item \"{}\" in vault {}: {}",
                        item.title, world.vaults[*outer].name, item.id
                    )
                })
                .collect();
            // The real order differs from call to call.
            if world.calls.is_multiple_of(2) {
                copies.reverse();
            }
            Err(format!(
                "More than one item matches \"{query}\". Try again and specify the item by its ID: {}",
                copies.concat()
            ))
        }
    }
}

/// Returns the vault that `--vault` names.
fn wanted_vault(world: &World, call: &Invocation) -> Result<Option<usize>, String> {
    call.flag("vault")
        .map(|query| vault(world, query))
        .transpose()
}

fn signin(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["force", "account", "raw"])?;
    Ok(room.play(LATENCY, |world| {
        world.session.over = Over::No;
        world.session.calls = 0;
        Reply::Done(Answer::silent())
    }))
}

fn signout(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["all", "forget", "account"])?;
    Ok(room.play(100, |world| {
        world.session.over = Over::SignedOut;
        Reply::Done(Answer::silent())
    }))
}

fn whoami(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["account"])?;
    Ok(room.play(100, |world| {
        if world.session.over != Over::No {
            return Reply::Done(error("account is not signed in"));
        }
        Reply::Done(Answer::out(if is_json(call) {
            pretty(&json!({ "url": "https://lab.1password.com/", "email": "lab@example.com", "user_uuid": "5GHHPJK5HZC5BAT7WDUXW57G44", "account_uuid": "GRXJPO3CTVEEFIQ2AJPXTPXYRM" }), "  ") + "\n"
        } else {
            "URL:        https://lab.1password.com/\nEmail:      lab@example.com\nUser ID:    5GHHPJK5HZC5BAT7WDUXW57G44\n".to_string()
        }))
    }))
}

fn accounts(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["account"])?;
    Ok(Answer::out(if is_json(call) {
        pretty(
            &json!([{ "url": "lab.1password.com", "email": "lab@example.com", "user_uuid": "5GHHPJK5HZC5BAT7WDUXW57G44", "account_uuid": "GRXJPO3CTVEEFIQ2AJPXTPXYRM" }]),
            "  ",
        ) + "\n"
    } else {
        "URL                  EMAIL              USER ID\nlab.1password.com    lab@example.com    5GHHPJK5HZC5BAT7WDUXW57G44\n".to_string()
    }))
}

fn vault_get(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let query = call
        .args
        .first()
        .cloned()
        .ok_or_else(|| error("accepts 1 arg(s), received 0"))?;
    Ok(ask(room, |world| {
        let found = &world.vaults[vault(world, &query)?];
        let items = found.items.iter().filter(|item| !item.archived).count();
        let made = world.rfc3339(0);
        Ok(Answer::out(if is_json(call) {
            pretty(
                &json!({
                    "id": found.id, "name": found.name, "content_version": found.content_version + 1, "attribute_version": 1,
                    "items": items, "type": "USER_CREATED", "created_at": made, "updated_at": made,
                }),
                "  ",
            ) + "\n"
        } else {
            format!(
                "ID:                   {}\nName:                 {}\nType:                 USER_CREATED\nAttribute version:    1\nContent version:      {}\nItems:                {items}\nCreated:              now\nUpdated:              now\n",
                found.id,
                found.name,
                found.content_version + 1
            )
        }))
    }))
}

fn vault_list(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    Ok(ask(room, |world| {
        Ok(Answer::out(if is_json(call) {
            let made = world.rfc3339(0);
            let vaults: Vec<_> = world
                .vaults
                .iter()
                .map(|vault| json!({ "id": vault.id, "name": vault.name, "content_version": vault.content_version + 1, "created_at": made, "updated_at": made, "items": vault.items.len() }))
                .collect();
            pretty(&json!(vaults), "  ") + "\n"
        } else {
            let shown = lines(
                world
                    .vaults
                    .iter()
                    .map(|vault| format!("{}    {}", vault.id, vault.name)),
            );
            format!("ID                            NAME\n{shown}")
        }))
    }))
}

#[cfg(test)]
mod tests;
