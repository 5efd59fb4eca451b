use super::reference::{Piece, parse, pieces};
use super::{find, gate, vault};
use crate::site::Site;
use crate::vault::Over;
use crate::world::{NewWorld, World};

fn world(faults: &[&str]) -> World {
    World::build(NewWorld {
        name: "test".to_string(),
        seed: 1,
        speed: 1.0,
        created_ms: 0,
        site: Site::built_in(),
        faults: faults.iter().map(ToString::to_string).collect(),
    })
    .unwrap()
}

#[test]
fn what_is_not_there_is_said_in_the_words_of_op() {
    let world = world(&[]);
    assert_eq!(
        vault(&world, "Nope").unwrap_err(),
        "\"Nope\" isn't a vault in this account. Specify the vault with its ID or name."
    );
    assert_eq!(
        find(&world, Some(0), "infra-talos", false).unwrap_err(),
        "\"infra-talos\" isn't an item in the \"Prod\" vault. Specify the item with its UUID, name, or domain."
    );
    assert!(find(&world, None, "SHARED-1password", false).is_ok());
}

#[test]
fn two_items_of_a_title_are_ambiguous() {
    let world = world(&["op-duplicate:infra-talos"]);
    let why = find(&world, Some(0), "infra-talos", false).unwrap_err();
    assert!(why.starts_with("More than one item matches \"infra-talos\". Try again and specify the item by its ID: \n\t* for the item"));
}

#[test]
fn a_session_expires_and_one_of_them_comes_back() {
    let mut lost = world(&["op-expired=2"]);
    assert!(gate(&mut lost).is_ok() && gate(&mut lost).is_ok());
    assert!(gate(&mut lost).is_err());
    lost.advance(3_600_000);
    assert!(gate(&mut lost).is_err());
    lost.session.over = Over::No;
    assert!(gate(&mut lost).is_ok());

    let mut heals = world(&["op-expired-heals=60", "op-rate-limit=30"]);
    assert!(gate(&mut heals).is_ok() && gate(&mut heals).is_ok());
    assert!(gate(&mut heals).unwrap_err().starts_with("(429)"));
    assert!(gate(&mut heals).unwrap_err().starts_with("session expired"));
    heals.advance(61_000);
    assert!(gate(&mut heals).is_ok());
}

#[test]
fn references_have_three_or_four_parts() {
    assert!(parse("op://Prod/infra-talos/MACHINE_TOKEN").is_ok());
    assert!(parse("op://x").unwrap_err().contains("too few '/'"));
    assert!(
        parse("op://a/b/c/d/e")
            .unwrap_err()
            .contains("too many '/'")
    );
    assert!(
        parse("op://a/b/(c)")
            .unwrap_err()
            .contains("invalid character in secret reference: '('")
    );
}

#[test]
fn inject_sees_braces_bare_references_and_variables() {
    let known = |name: &str| (name == "WHO").then(|| "me".to_string());
    let found = pieces(
        "a: {{ op://v/i/f }}\nb: op://v/i/g\nc: $WHO ${NO:-d} $1\n",
        &known,
    )
    .unwrap();
    assert_eq!(
        found
            .iter()
            .filter(|piece| matches!(piece, Piece::Secret(_)))
            .count(),
        2
    );
    assert_eq!(
        found.last().unwrap(),
        &Piece::Text("\nc: me d $1\n".to_string())
    );
    assert!(
        pieces("# see op://Agent-", &known)
            .unwrap_err()
            .contains("too few '/'")
    );
    assert!(
        pieces("$patch: delete", &known)
            .unwrap_err()
            .contains("'patch'")
    );
}
