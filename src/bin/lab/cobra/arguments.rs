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
            (Tool::Flux, "check" | "envsubst" | "install" | "stats" | "uninstall") => Self {
                least: 0,
                most: Some(0),
            },
            (Tool::Helm, path) => Self::of_helm(path),
            // Their commands look at their operands themselves, or never do.
            (Tool::Flux | Tool::Cilium | Tool::Kustomize, _) => Self {
                least: 0,
                most: None,
            },
            _ => Self::read(tool, command),
        }
    }

    fn of_helm(path: &str) -> Self {
        let (least, most) = match path {
            "upgrade" => (2, Some(2)),
            "list" | "version" | "env" => (0, Some(0)),
            "history" | "status" | "get all" | "get hooks" | "get manifest" | "get metadata"
            | "get notes" | "get values" => (1, Some(1)),
            "install" | "template" | "rollback" | "uninstall" => (1, None),
            _ => (0, None),
        };
        Self { least, most }
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
        if tool == Tool::Helm {
            return Err(self.in_words_of_helm(command));
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

impl Operands {
    fn in_words_of_helm(self, command: &Command) -> String {
        let wanted = match (self.least, self.most) {
            (0, _) => "accepts no arguments".to_string(),
            (least, most) => format!(
                "requires {}{least} argument{}",
                if most.is_none() { "at least " } else { "" },
                if least == 1 { "" } else { "s" }
            ),
        };
        format!(
            "\"helm {}\" {wanted}\n\nUsage:  {}",
            command.path, command.usage
        )
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
