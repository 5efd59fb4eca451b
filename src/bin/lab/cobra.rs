//! A strict command line parser that behaves as Cobra does in the real tools.
//!
//! What a tool has (commands, aliases, flags) is a table in `contracts/`; what it says about a wrong word is here. The
//! parser knows nothing of what a command does. Steps, in Cobra's order: find the command, parse its flags, show help,
//! refuse a group, count the operands.

mod arguments;
mod table;

use std::fmt::Write as _;

use crate::answer::Answer;
use arguments::Operands;
pub(crate) use table::duration_ms;
use table::{Command, Flag, Table};

/// A tool of the contract tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// `talosctl` 1.11.2.
    Talosctl,
    /// `op` 2.32.
    Op,
    /// `kubectl` 1.34.1.
    Kubectl,
    /// `helm` 3.19.
    Helm,
    /// `flux` 2.7.2.
    Flux,
    /// `cilium`, the command line of 1.18.
    Cilium,
    /// `kustomize` 5.7.1.
    Kustomize,
}

impl Tool {
    /// Returns the name that the tool is called by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Talosctl => "talosctl",
            Self::Op => "op",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Flux => "flux",
            Self::Cilium => "cilium",
            Self::Kustomize => "kustomize",
        }
    }

    fn contract(self) -> &'static str {
        match self {
            Self::Talosctl => include_str!("contracts/talosctl.tsv"),
            Self::Op => include_str!("contracts/op.tsv"),
            Self::Kubectl => include_str!("contracts/kubectl.tsv"),
            Self::Helm => include_str!("contracts/helm.tsv"),
            Self::Flux => include_str!("contracts/flux.tsv"),
            Self::Cilium => include_str!("contracts/cilium.tsv"),
            Self::Kustomize => include_str!("contracts/kustomize.tsv"),
        }
    }
}

/// A command line that the real tool would accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// The tool.
    pub(crate) tool: Tool,
    /// The command's full path without the tool's name, aliases resolved: `etcd members`.
    pub(crate) path: String,
    /// The operands.
    pub(crate) args: Vec<String>,
    flags: Vec<(String, String)>,
    usage: String,
}

impl Invocation {
    /// Returns the last value of a flag, if it was given.
    pub(crate) fn flag(&self, long: &str) -> Option<&str> {
        self.flags
            .iter()
            .rev()
            .find(|(name, _)| name == long)
            .map(|(_, value)| value.as_str())
    }

    /// Returns every value of a flag, in order, as given.
    pub(crate) fn every(&self, long: &str) -> Vec<&str> {
        self.flags
            .iter()
            .filter(|(name, _)| name == long)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Returns every value of a list flag, values with commas taken apart.
    pub(crate) fn list(&self, long: &str) -> Vec<String> {
        self.every(long)
            .iter()
            .flat_map(|value| value.split(','))
            .filter(|word| !word.is_empty())
            .map(ToString::to_string)
            .collect()
    }

    /// Returns whether a switch is on; `default` if it was not given.
    pub(crate) fn switch(&self, long: &str, default: bool) -> bool {
        self.flag(long).map_or(default, |value| {
            matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True")
        })
    }

    /// Returns a failure of `talosctl`: its text, with the usage when the tool's own rule asks for it.
    pub(crate) fn fail(&self, text: impl Into<String>) -> Answer {
        refuse(self.tool, &self.path, &text.into(), &self.usage)
    }

    /// Refuses, with the lab's own error, every flag that is given and is not among those that the lab plays.
    pub(crate) fn plays(&self, flags: &[&str]) -> Result<(), Answer> {
        match self
            .flags
            .iter()
            .find(|(name, _)| !flags.contains(&name.as_str()))
        {
            None => Ok(()),
            Some((name, _)) => Err(Answer::not_played(&format!(
                "{} {} --{name}",
                self.tool.name(),
                self.path
            ))),
        }
    }
}

/// Parses the words after the tool's name.
pub(crate) fn parse(tool: Tool, words: &[String]) -> Result<Invocation, Answer> {
    let table = Table::new(tool.contract());
    let (command, rest) = find(&table, words);
    let usage = usage(tool, &table, &command);
    let refuse = |text: &str| refuse(tool, &command.path, text, &usage);

    if command.path.is_empty()
        && let Some(word) = strip_flags(&command, &rest).first()
    {
        return Err(refuse(&unknown_command(tool, &table, word)));
    }
    let (flags, args) = parse_flags(&command, &rest).map_err(|text| refuse(&text))?;
    let invocation = Invocation {
        tool,
        path: command.path.clone(),
        args,
        flags,
        usage: usage.clone(),
    };
    if invocation.switch("help", false) {
        return Err(Answer::out(usage));
    }
    if invocation.switch("version", false) && command.path.is_empty() {
        return Ok(invocation);
    }
    if !command.runs || command.path.is_empty() {
        return match (tool, invocation.args.first()) {
            (Tool::Kubectl, Some(word)) => Err(Answer::fail(
                1,
                format!(
                    "error: unknown command \"{word}\"\nSee 'kubectl {} -h' for help and examples\n",
                    command.path
                ),
            )),
            _ => Err(Answer::out(usage)),
        };
    }
    if tool != Tool::Kubectl {
        Operands::of(tool, &command)
            .check(tool, &command, &invocation.args)
            .map_err(|text| refuse(&text))?;
    }
    Ok(invocation)
}

/// Follows Cobra's `Find`: the first word that is no flag and no flag's value names a child, again and again.
fn find(table: &Table, words: &[String]) -> (Command, Vec<String>) {
    let mut command = table.root();
    let mut rest = words.to_vec();
    while let Some(next) = strip_flags(&command, &rest).into_iter().next() {
        let Some(child) = table.child(&command.path, &next) else {
            break;
        };
        rest = without_first(&command, &rest, &next);
        command = child;
    }
    (command, rest)
}

fn takes_next_word(command: &Command, word: &str) -> bool {
    if let Some(name) = word.strip_prefix("--") {
        return !name.contains('=') && !command.flag(name).is_some_and(Flag::stands_alone);
    }
    let mut letters = word.chars();
    letters.next() == Some('-')
        && !word.contains('=')
        && word.chars().count() == 2
        && !letters
            .next()
            .and_then(|short| command.short(short))
            .is_some_and(Flag::stands_alone)
}

fn strip_flags(command: &Command, words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut index = 0;
    while index < words.len() {
        let word = &words[index];
        index += 1;
        if word == "--" {
            break;
        }
        if word.starts_with('-') && word != "-" {
            if takes_next_word(command, word) {
                index += 1;
            }
        } else if !word.is_empty() {
            kept.push(word.clone());
        }
    }
    kept
}

fn without_first(command: &Command, words: &[String], name: &str) -> Vec<String> {
    let mut index = 0;
    while index < words.len() {
        let word = &words[index];
        if word == "--" {
            break;
        }
        if word.starts_with('-') && word != "-" {
            if takes_next_word(command, word) {
                index += 1;
            }
        } else if word == name {
            let mut rest = words.to_vec();
            rest.remove(index);
            return rest;
        }
        index += 1;
    }
    words.to_vec()
}

type Parsed = (Vec<(String, String)>, Vec<String>);

fn parse_flags(command: &Command, words: &[String]) -> Result<Parsed, String> {
    let (mut flags, mut args) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            args.extend(words.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            if long.starts_with('-') || long.starts_with('=') {
                return Err(format!("bad flag syntax: {word}"));
            }
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (long, None),
            };
            let flag = command
                .flag(name)
                .ok_or_else(|| format!("unknown flag: --{name}"))?;
            let value = match value {
                Some(value) => value,
                None if flag.stands_alone() => "true".to_string(),
                None => words
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("flag needs an argument: --{name}"))?,
            };
            flag.check(&value)?;
            flags.push((flag.long.clone(), value));
        } else if word.starts_with('-') && word.len() > 1 {
            parse_shorts(command, &word[1..], &mut words, &mut flags)?;
        } else {
            args.push(word.clone());
        }
    }
    Ok((flags, args))
}

fn parse_shorts<'a>(
    command: &Command,
    shorts: &str,
    words: &mut impl Iterator<Item = &'a String>,
    flags: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let mut left = shorts;
    while let Some(letter) = left.chars().next() {
        let flag = command
            .short(letter)
            .ok_or_else(|| format!("unknown shorthand flag: '{letter}' in -{left}"))?;
        let rest = &left[letter.len_utf8()..];
        let value = if let Some(value) = rest.strip_prefix('=') {
            left = "";
            value.to_string()
        } else if flag.stands_alone() {
            left = rest;
            "true".to_string()
        } else if rest.is_empty() {
            let value = words.next().cloned();
            let value =
                value.ok_or_else(|| format!("flag needs an argument: '{letter}' in -{left}"))?;
            left = "";
            value
        } else {
            left = "";
            rest.to_string()
        };
        flag.check(&value)?;
        flags.push((flag.long.clone(), value));
    }
    Ok(())
}

fn unknown_command(tool: Tool, table: &Table, word: &str) -> String {
    let mut text = format!("unknown command \"{word}\" for \"{}\"", tool.name());
    let near: Vec<String> = table
        .children("")
        .filter(|name| {
            strsim::levenshtein(&word.to_lowercase(), name) <= 2
                || name.starts_with(&word.to_lowercase())
        })
        .collect();
    if !near.is_empty() {
        text.push_str("\n\nDid you mean this?\n");
        for name in near {
            writeln!(text, "\t{name}").expect("writing to a string cannot fail");
        }
    }
    text
}

/// Puts an error into the tool's own clothes.
fn refuse(tool: Tool, path: &str, text: &str, usage: &str) -> Answer {
    let stderr = match tool {
        Tool::Talosctl
            if ["arg(s)", "flag", "command"]
                .iter()
                .any(|word| text.contains(word)) =>
        {
            format!("{text}\n\n{usage}\n")
        }
        Tool::Talosctl | Tool::Cilium => format!("{text}\n"),
        Tool::Op => {
            let shown = if text.starts_with("unknown command") {
                ""
            } else {
                usage
            };
            format!("{}{text}\n{shown}", crate::clock::op_error_prefix())
        }
        Tool::Kubectl if text.starts_with("unknown command") => format!("error: {text}\n"),
        Tool::Kubectl => {
            let space = if path.is_empty() { "" } else { " " };
            format!("error: {text}\nSee 'kubectl{space}{path} --help' for usage.\n")
        }
        Tool::Helm | Tool::Kustomize if text.starts_with("unknown command") => {
            format!("Error: {text}\nRun '{} --help' for usage.\n", tool.name())
        }
        Tool::Kustomize if path.is_empty() => format!("Error: {text}\n{usage}\n"),
        Tool::Helm | Tool::Kustomize => format!("Error: {text}\n"),
        Tool::Flux => format!("✗ {text}\n"),
    };
    Answer::fail(1, stderr)
}

fn usage(tool: Tool, table: &Table, command: &Command) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if tool == Tool::Op {
        line(format!("Usage:  {}", command.usage));
    } else {
        line("Usage:".to_string());
        if command.runs {
            line(format!("  {}", command.usage));
        } else {
            line(format!(
                "  {} [command]",
                [tool.name(), &command.path].join(" ").trim_end()
            ));
        }
    }
    let children: Vec<String> = table.children(&command.path).collect();
    if !children.is_empty() {
        line("\nAvailable Commands:".to_string());
        for child in children {
            line(format!("  {child}"));
        }
    }
    line("\nFlags:".to_string());
    for flag in command.flags() {
        let short = flag
            .short
            .map_or_else(|| "    ".to_string(), |short| format!("-{short}, "));
        line(
            format!("  {short}--{} {}", flag.long, flag.kind)
                .trim_end()
                .to_string(),
        );
    }
    if tool == Tool::Op {
        line(
            "\nTo list the global flags available on every command, run  'op --help'.".to_string(),
        );
    }
    text
}

#[cfg(test)]
mod tests;
