//! The played `dig`: A and TXT records, short or plain.
//!
//! Two servers answer: the room's resolver, which knows the room's names and asks the world for others, and the one that the world asks for the
//! zone that external-dns writes to. Others are not there.

use std::fmt::Write as _;

use crate::answer::Answer;
use crate::room::{Reply, Room};
use crate::world::World;

const USAGE: &str = "Usage:  dig [@global-server] [domain] [q-type] [q-class] {q-opt}\n            {global-d-opt} host [@local-server] {local-d-opt}\n            [ host [@local-server] {local-d-opt} [...]]\n\nUse \"dig -h\" (or \"dig -h | more\") for complete list of options\n";

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    name: String,
    /// `A` or `TXT`.
    kind: &'static str,
    server: Option<String>,
    short: bool,
}

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let question = match read(words) {
        Ok(question) => question,
        Err(answer) => return answer,
    };
    let room = match Room::open() {
        Ok(room) => room,
        Err(answer) => return answer,
    };
    room.play(30, |world| ask(world, &question))
}

fn read(words: &[String]) -> Result<Question, Answer> {
    let (mut short, mut name, mut server, mut kind) = (false, None, None, "A");
    for word in words {
        if let Some(option) = word.strip_prefix('+') {
            let key = option.split('=').next().unwrap_or_default();
            match key {
                "short" => short = true,
                "noshort" => short = false,
                "time" | "tries" | "timeout" | "retry" | "noall" | "answer" | "tcp" | "notcp"
                | "norecurse" | "recurse" | "search" | "nosearch" => {}
                _ => {
                    return Err(Answer::fail(
                        1,
                        format!("Invalid option: +{option}\n{USAGE}"),
                    ));
                }
            }
        } else if let Some(host) = word.strip_prefix('@') {
            server = Some(host.to_string());
        } else if word.starts_with('-') {
            return Err(Answer::not_played(&format!("dig {word}")));
        } else if name.is_none() {
            name = Some(word.clone());
        } else {
            match word.to_uppercase().as_str() {
                "A" => kind = "A",
                "TXT" => kind = "TXT",
                "IN" => {}
                _ => return Err(Answer::not_played(&format!("dig … {word}"))),
            }
        }
    }
    let Some(name) = name else {
        return Err(Answer::not_played("dig without a name"));
    };
    Ok(Question {
        name,
        kind,
        server,
        short,
    })
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    status: &'static str,
    records: Vec<String>,
}

fn ask(world: &mut World, question: &Question) -> Reply {
    let resolver = world.site.resolver.clone();
    let asked = question.server.clone().unwrap_or_else(|| resolver.clone());
    let found = if asked == resolver {
        resolve(world, question)
    } else if asked == world.site.zone.server && !asked.is_empty() {
        zone(world, question)
    } else {
        let text = format!(";; communications error to {asked}#53: timed out\n").repeat(3);
        return Reply::After(
            15_000,
            Answer {
                stdout: format!("{text}\n;; no servers could be reached\n").into_bytes(),
                stderr: String::new(),
                code: 9,
            },
        );
    };
    Reply::Done(Answer::out(show(question, &asked, &found)))
}

fn bare(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

fn resolve(world: &mut World, question: &Question) -> Found {
    if question.kind == "A" {
        let records = world.resolve(&question.name);
        if !records.is_empty() {
            return Found {
                status: "NOERROR",
                records,
            };
        }
    }
    let found = zone(world, question);
    // A resolver asks on; a name that nobody answers for is not there.
    if found.status == "REFUSED" {
        return Found {
            status: "NXDOMAIN",
            ..found
        };
    }
    found
}

/// Asks the server of the zone, which answers for nothing else.
fn zone(world: &World, question: &Question) -> Found {
    let name = bare(&question.name);
    let zone = &world.site.zone.name;
    if zone.is_empty() || name != *zone && !name.ends_with(&format!(".{zone}")) {
        return Found {
            status: "REFUSED",
            records: Vec::new(),
        };
    }
    let Some(all) = world.zone.get(&name) else {
        return Found {
            status: "NXDOMAIN",
            records: Vec::new(),
        };
    };
    let records = all.get(question.kind).cloned().unwrap_or_default();
    let records = if question.kind == "TXT" {
        records.iter().map(|text| format!("\"{text}\"")).collect()
    } else {
        records
    };
    Found {
        status: "NOERROR",
        records,
    }
}

fn show(question: &Question, server: &str, found: &Found) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line)
            .and_then(|()| text.write_char('\n'))
            .expect("a string");
    };
    if question.short {
        for record in &found.records {
            line(format_args!("{record}"));
        }
        return text;
    }
    let Question { name, kind, .. } = question;
    let name = bare(name);
    line(format_args!(
        "\n; <<>> DiG 9.18.39 <<>> {}\n;; global options: +cmd\n;; Got answer:",
        question.name
    ));
    line(format_args!(
        ";; ->>HEADER<<- opcode: QUERY, status: {}, id: 4711",
        found.status
    ));
    line(format_args!(
        ";; flags: qr rd ra; QUERY: 1, ANSWER: {}, AUTHORITY: 0, ADDITIONAL: 1\n",
        found.records.len()
    ));
    line(format_args!(
        ";; QUESTION SECTION:\n;{name}.\t\tIN\t{kind}\n"
    ));
    if !found.records.is_empty() {
        line(format_args!(";; ANSWER SECTION:"));
    }
    for record in &found.records {
        line(format_args!("{name}.\t300\tIN\t{kind}\t{record}"));
    }
    line(format_args!(
        "\n;; Query time: 1 msec\n;; SERVER: {server}#53({server}) (UDP)"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::{ask, read};
    use crate::room::Reply;
    use crate::site::Site;
    use crate::world::{NewWorld, World};
    use std::collections::BTreeMap;

    fn world() -> World {
        let mut world = World::build(NewWorld {
            name: "room".to_string(),
            seed: 1,
            speed: 1.0,
            created_ms: 1_790_000_000_000,
            site: Site::built_in(),
            faults: Vec::new(),
        })
        .unwrap();
        let mark =
            "heritage=external-dns,external-dns/owner=infra,external-dns/resource=service/a/b";
        world.zone.insert(
            "web.monosense.io".to_string(),
            BTreeMap::from([("A".to_string(), vec!["10.25.11.101".to_string()])]),
        );
        world.zone.insert(
            "a-web.monosense.io".to_string(),
            BTreeMap::from([("TXT".to_string(), vec![mark.to_string()])]),
        );
        world
    }

    fn dig(world: &mut World, line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(ToString::to_string).collect();
        match ask(world, &read(&words).unwrap()) {
            Reply::Done(answer) | Reply::After(_, answer) => {
                String::from_utf8(answer.stdout).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_zones_server_knows_what_was_written_and_nothing_of_the_room() {
        let mut world = world();
        let server = world.site.zone.server.clone();
        assert_eq!(
            dig(&mut world, &format!("+short web.monosense.io A @{server}")),
            "10.25.11.101\n"
        );
        assert_eq!(
            dig(
                &mut world,
                &format!("+short +time=3 +tries=2 a-web.monosense.io TXT @{server}")
            ),
            "\"heritage=external-dns,external-dns/owner=infra,external-dns/resource=service/a/b\"\n"
        );
        assert_eq!(
            dig(
                &mut world,
                &format!("+short infra-k8s.monosense.io A @{server}")
            ),
            ""
        );
        assert!(dig(&mut world, &format!("example.org @{server}")).contains("status: REFUSED"));
    }

    #[test]
    fn the_rooms_resolver_knows_its_own_names_and_asks_on_for_others() {
        let mut world = world();
        assert!(!dig(&mut world, "+short infra-k8s.monosense.io").is_empty());
        assert_eq!(dig(&mut world, "+short web.monosense.io"), "10.25.11.101\n");
        assert!(dig(&mut world, "nope.monosense.io").contains("status: NXDOMAIN"));
        assert!(dig(&mut world, "infra-k8s.monosense.io TXT").contains("status: NXDOMAIN"));
    }

    #[test]
    fn a_server_that_is_not_there_does_not_answer() {
        assert!(
            dig(&mut world(), "web.monosense.io @10.9.9.9")
                .ends_with(";; no servers could be reached\n")
        );
    }
}
