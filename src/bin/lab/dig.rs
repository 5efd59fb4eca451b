//! The played `dig`: A records, short or plain.

use std::fmt::Write as _;

use crate::answer::Answer;
use crate::room::{Reply, Room};

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let (mut short, mut name, mut server) = (false, None, None);
    for word in words {
        if let Some(option) = word.strip_prefix('+') {
            let key = option.split('=').next().unwrap_or_default();
            match key {
                "short" => short = true,
                "noshort" => short = false,
                "time" | "tries" | "timeout" | "retry" | "noall" | "answer" | "tcp" | "notcp"
                | "norecurse" | "recurse" | "search" | "nosearch" => {}
                _ => {
                    let usage = "Usage:  dig [@global-server] [domain] [q-type] [q-class] {q-opt}\n            {global-d-opt} host [@local-server] {local-d-opt}\n            [ host [@local-server] {local-d-opt} [...]]\n\nUse \"dig -h\" (or \"dig -h | more\") for complete list of options\n";
                    return Answer::fail(1, format!("Invalid option: +{option}\n{usage}"));
                }
            }
        } else if let Some(host) = word.strip_prefix('@') {
            server = Some(host.to_string());
        } else if word.starts_with('-') {
            return Answer::not_played(&format!("dig {word}"));
        } else if name.is_none() {
            name = Some(word.clone());
        } else if !matches!(word.as_str(), "A" | "a" | "IN" | "in") {
            return Answer::not_played(&format!("dig … {word}"));
        }
    }
    let Some(name) = name else {
        return Answer::not_played("dig without a name");
    };
    let room = match Room::open() {
        Ok(room) => room,
        Err(answer) => return answer,
    };
    room.play(30, |world| {
        let resolver = world.site.resolver.clone();
        let asked = server.clone().unwrap_or_else(|| resolver.clone());
        if asked != resolver {
            let text = format!(";; communications error to {asked}#53: timed out\n").repeat(3);
            return Reply::After(
                15_000,
                Answer {
                    stdout: format!("{text}\n;; no servers could be reached\n").into_bytes(),
                    stderr: String::new(),
                    code: 9,
                },
            );
        }
        let addresses = world.resolve(&name);
        let mut text = String::new();
        if short {
            for address in &addresses {
                writeln!(text, "{address}").expect("writing to a string cannot fail");
            }
            return Reply::Done(Answer::out(text));
        }
        let status = if addresses.is_empty() {
            "NXDOMAIN"
        } else {
            "NOERROR"
        };
        writeln!(
            text,
            "\n; <<>> DiG 9.18.39 <<>> {name}\n;; global options: +cmd\n;; Got answer:"
        )
        .expect("a string");
        writeln!(
            text,
            ";; ->>HEADER<<- opcode: QUERY, status: {status}, id: 4711"
        )
        .expect("a string");
        writeln!(
            text,
            ";; flags: qr rd ra; QUERY: 1, ANSWER: {}, AUTHORITY: 0, ADDITIONAL: 1\n",
            addresses.len()
        )
        .expect("a string");
        writeln!(text, ";; QUESTION SECTION:\n;{name}.\t\tIN\tA\n").expect("a string");
        if !addresses.is_empty() {
            writeln!(text, ";; ANSWER SECTION:").expect("a string");
        }
        for address in &addresses {
            writeln!(text, "{name}.\t300\tIN\tA\t{address}").expect("a string");
        }
        writeln!(
            text,
            "\n;; Query time: 1 msec\n;; SERVER: {resolver}#53({resolver}) (UDP)"
        )
        .expect("a string");
        Reply::Done(Answer::out(text))
    })
}
