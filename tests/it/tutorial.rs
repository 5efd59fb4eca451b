//! `docs/tutorial.md`, typed: every file is written, every command is run, and what the tutorial shows must come. In what it shows a line
//! of three dots stands for any lines, three dots in a line for any text; lengths of time and names of runs may be others.
#![expect(
    clippy::disallowed_methods,
    reason = "the program is what is tested, and it is started as people start it"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use regex_lite::Regex;

const TUTORIAL: &str = include_str!("../../docs/tutorial.md");

/// A fenced block: what stands behind the fence, its text, and the line of the tutorial where that begins.
struct Block<'a> {
    head: &'a str,
    text: String,
    line: usize,
}

fn blocks(markdown: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(head) = line.strip_prefix("```") else {
            continue;
        };
        let text = lines
            .by_ref()
            .take_while(|(_, line)| *line != "```")
            .fold(String::new(), |text, (_, line)| text + line + "\n");
        let line = at + 2;
        blocks.push(Block { head, text, line });
    }
    blocks
}

/// A command of a console block with what it shows.
fn commands(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        // A log shows the command that it is of: that is output, too.
        let logged = commands
            .last()
            .is_some_and(|(_, shown)| shown.last().is_some_and(|line| line.starts_with("==> ")));
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) if !logged => commands.push((command, Vec::new())),
            (_, Some((_, shown))) => shown.push(line),
            (_, None) => panic!("output without a command: {line}"),
        }
    }
    commands
}

/// The same for every run.
fn normal(text: &str) -> String {
    let text = Regex::new(r"\b\d+(\.\d+)?s\b")
        .unwrap()
        .replace_all(text, "0s");
    let text = Regex::new(r"\b\d{8}-\d{6}-[0-9a-f]{4}\b")
        .unwrap()
        .replace_all(&text, "RUN");
    text.trim_end().to_owned()
}

/// Whether what was said is what is shown.
fn shows(shown: &[&str], said: &[&str]) -> bool {
    match shown.split_first() {
        None => said.is_empty(),
        Some((&"...", rest)) => (0..=said.len()).any(|skipped| shows(rest, &said[skipped..])),
        Some((line, rest)) => said
            .split_first()
            .is_some_and(|(first, others)| same(line, first) && shows(rest, others)),
    }
}

fn same(shown: &str, said: &str) -> bool {
    let (shown, said) = (normal(shown), normal(said));
    match shown.split_once("...") {
        Some((head, tail)) => {
            said.len() >= head.len() + tail.len() && said.starts_with(head) && said.ends_with(tail)
        }
        None => shown == said,
    }
}

#[test]
fn the_tutorial_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_bootstrap")).parent().unwrap();
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut wrong = String::new();
    let mut ran = 0;
    for Block { head, text, line } in blocks(TUTORIAL) {
        if let Some((_, title)) = head.split_once("title=\"") {
            let file = folder.path().join(title.trim_end_matches('"'));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
            continue;
        }
        if head != "console" {
            continue;
        }
        for (command, shown) in commands(&text) {
            ran += 1;
            let output = Command::new("sh")
                .arg("-c")
                .arg(format!("{{ {command}; }} 2>&1"))
                .current_dir(folder.path())
                .env_clear()
                .env("PATH", &path)
                .env("HOME", folder.path())
                .env("USER", "me")
                .output()
                .unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            if !shows(&shown, &said.lines().collect::<Vec<_>>()) {
                let shown = shown.join("\n");
                writeln!(
                    wrong,
                    "block at line {line}: $ {command}\n--- shown\n{shown}\n--- said\n{said}"
                )
                .unwrap();
            }
        }
    }
    assert!(ran >= 12, "only {ran} commands");
    assert!(wrong.is_empty(), "docs/tutorial.md:\n{wrong}");
}

/// The YAML of the reference, as one project: what is not the inventory is a playbook.
#[test]
fn the_examples_of_the_reference_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("playbooks")).unwrap();
    let mut count = 0;
    for block in blocks(include_str!("../../docs/playbook.md")) {
        if block.head != "yaml" {
            continue;
        }
        count += 1;
        let file = if block.text.starts_with("fields:") {
            "inventory.yaml".to_owned()
        } else {
            format!("playbooks/line-{}.yaml", block.line)
        };
        std::fs::write(folder.path().join(file), block.text).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .arg("-C")
        .arg(folder.path())
        .arg("validate")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "docs/playbook.md: {said}");
    assert!(count >= 4, "only {count} examples");
}
