//! How many operands a command takes, read from its use line, and Cobra's words when the count is wrong.

use super::{Command, Tool};

/// The least and the greatest number of operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operands {
    least: usize,
    most: Option<usize>,
}

impl Operands {
    /// Returns what the use line of a command says, save where the real tool's rule is another one.
    pub(crate) fn of(tool: Tool, command: &Command) -> Self {
        match (tool, command.path.as_str()) {
            // These two look at their operands themselves.
            (Tool::Talosctl, "apply-config" | "config node" | "usage") | (Tool::Op, "run") => {
                Self {
                    least: 0,
                    most: None,
                }
            }
            (Tool::Talosctl, "service") => Self {
                least: 0,
                most: Some(2),
            },
            _ => Self::read(tool, command),
        }
    }

    fn read(tool: Tool, command: &Command) -> Self {
        let head = format!("{} {}", tool.name(), command.path);
        let tail = command.usage.strip_prefix(&head).unwrap_or_default();
        let (mut least, mut most) = (0, Some(0));
        for word in words(tail) {
            if word == "[flags]" || word.contains("--") {
                continue;
            }
            if word.contains("...") {
                most = None;
            }
            most = most.map(|most: usize| most + 1);
            if !word.starts_with('[') && word != "..." {
                least += 1;
            }
        }
        Self { least, most }
    }

    /// Compares with what was given.
    pub(crate) fn check(
        self,
        tool: Tool,
        command: &Command,
        given: &[String],
    ) -> Result<(), String> {
        let count = given.len();
        if count >= self.least && self.most.is_none_or(|most| count <= most) {
            return Ok(());
        }
        Err(match (self.least, self.most) {
            (_, Some(0)) => format!(
                "unknown command \"{}\" for \"{} {}\"",
                given[0],
                tool.name(),
                command.path
            ),
            (least, None) => format!("requires at least {least} arg(s), only received {count}"),
            (0, Some(most)) => format!("accepts at most {most} arg(s), received {count}"),
            (least, Some(most)) if least == most => {
                format!("accepts {least} arg(s), received {count}")
            }
            (least, Some(most)) => {
                format!("accepts between {least} and {most} arg(s), received {count}")
            }
        })
    }
}

/// Takes a use line apart at the spaces that are outside all brackets.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0_usize;
    for letter in text.chars() {
        match letter {
            '<' | '[' | '{' => depth += 1,
            '>' | ']' | '}' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        words
            .last_mut()
            .expect("there is always a word")
            .push(letter);
    }
    words.retain(|word| !word.is_empty());
    words
}
