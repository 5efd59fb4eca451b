//! The contract tables: which commands and flags a tool has.
//!
//! A table is made from the real tool (`contracts/*.json` outside this project, by a script that is long gone) and is
//! one line a command, with tabs: path, aliases, whether it runs, use line, flags. A flag is `long:short:type`; no type
//! means a switch, `?` before the type means that a value can only be given as `--flag=value`. The flags of the first
//! line belong to every command. Only the wanted line is taken apart, since each call of a tool is a new process.

/// A table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    text: &'static str,
}

/// One command of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The words after the tool's name.
    pub(crate) path: String,
    /// Whether it does something by itself, other than a group.
    pub(crate) runs: bool,
    /// The use line.
    pub(crate) usage: String,
    flags: Vec<Flag>,
}

/// One flag of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    /// The long name.
    pub(crate) long: String,
    /// The letter, if it has one.
    pub(crate) short: Option<char>,
    /// The type of its value, empty for a switch.
    pub(crate) kind: String,
}

impl Table {
    /// Returns a table over the text of a contract file.
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text }
    }

    fn lines(self) -> impl Iterator<Item = &'static str> {
        self.text.lines().filter(|line| !line.starts_with('#'))
    }

    /// Returns the tool itself as a command.
    pub(crate) fn root(self) -> Command {
        self.command(self.lines().next().expect("a table has a first line"))
    }

    /// Returns the child of a command that has this name or alias.
    pub(crate) fn child(self, parent: &str, word: &str) -> Option<Command> {
        self.lines()
            .find(|line| {
                let mut cells = line.split('\t');
                let name = cells.next().and_then(|path| child_name(parent, path));
                let aliases = cells.next().unwrap_or_default();
                name.is_some_and(|name| {
                    name == word || aliases.split(',').any(|alias| alias == word)
                })
            })
            .map(|line| self.command(line))
    }

    /// Returns the names of a command's children.
    pub(crate) fn children(self, parent: &str) -> impl Iterator<Item = String> {
        self.lines()
            .filter_map(move |line| child_name(parent, line.split('\t').next().unwrap_or_default()))
            .map(ToString::to_string)
    }

    fn command(self, line: &str) -> Command {
        let cells: Vec<&str> = line.split('\t').collect();
        let [path, _, runs, usage, own] = cells[..] else {
            panic!("a line of a contract table has five cells: {line}");
        };
        let mut flags: Vec<Flag> = own
            .split(';')
            .filter(|word| !word.is_empty())
            .map(Flag::new)
            .collect();
        if !path.is_empty() {
            let everybody = self.root();
            let inherited = everybody
                .flags
                .into_iter()
                .filter(|flag| flag.long != "version");
            let inherited: Vec<Flag> = inherited
                .filter(|flag| flags.iter().all(|own| own.long != flag.long))
                .collect();
            flags.extend(inherited);
        }
        Command {
            path: path.to_string(),
            runs: runs == "1",
            usage: usage.to_string(),
            flags,
        }
    }
}

fn child_name<'a>(parent: &str, path: &'a str) -> Option<&'a str> {
    let name = if parent.is_empty() {
        path
    } else {
        path.strip_prefix(parent)?.strip_prefix(' ')?
    };
    (!name.is_empty() && !name.contains(' ')).then_some(name)
}

impl Command {
    /// Returns the flag of this long name.
    pub(crate) fn flag(&self, long: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.long == long)
    }

    /// Returns the flag of this letter.
    pub(crate) fn short(&self, short: char) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.short == Some(short))
    }

    /// Returns all flags.
    pub(crate) fn flags(&self) -> &[Flag] {
        &self.flags
    }
}

impl Flag {
    fn new(text: &str) -> Self {
        let mut parts = text.splitn(3, ':');
        Self {
            long: parts.next().unwrap_or_default().to_string(),
            short: parts.next().and_then(|short| short.chars().next()),
            kind: parts.next().unwrap_or_default().to_string(),
        }
    }

    /// Returns whether the flag may stand without a value.
    pub(crate) fn stands_alone(&self) -> bool {
        self.kind.is_empty() || self.kind.starts_with('?')
    }

    /// Refuses a value that the flag's type does not allow, in the words of Go's flag library.
    pub(crate) fn check(&self, value: &str) -> Result<(), String> {
        let complaint = match self.kind.as_str() {
            "" => {
                let known = [
                    "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False",
                ];
                (!known.contains(&value))
                    .then(|| format!("strconv.ParseBool: parsing \"{value}\": invalid syntax"))
            }
            "int" | "int32" => value
                .parse::<i64>()
                .is_err()
                .then(|| format!("strconv.ParseInt: parsing \"{value}\": invalid syntax")),
            "uint" => value
                .parse::<u64>()
                .is_err()
                .then(|| format!("strconv.ParseUint: parsing \"{value}\": invalid syntax")),
            "float" | "float32" => value
                .parse::<f64>()
                .is_err()
                .then(|| format!("strconv.ParseFloat: parsing \"{value}\": invalid syntax")),
            "duration" => duration_ms(value).err(),
            "format" => (!["table", "json", "yaml"].contains(&value))
                .then(|| "invalid format type".to_string()),
            kind if kind.contains(", ") => (!kind.split(", ").any(|option| option == value))
                .then(|| format!("possible options are: {kind}")),
            _ => None,
        };
        match complaint {
            None => Ok(()),
            Some(complaint) => {
                let short = self
                    .short
                    .map_or_else(String::new, |short| format!("-{short}, "));
                Err(format!(
                    "invalid argument \"{value}\" for \"{short}--{}\" flag: {complaint}",
                    self.long
                ))
            }
        }
    }
}

/// Returns the milliseconds of a Go duration, or Go's complaint.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    if text == "0" {
        return Ok(0);
    }
    let mut left = text;
    let mut total = 0.0;
    while !left.is_empty() {
        let end = left
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(left.len());
        let number: f64 = left[..end].parse().map_err(|_| invalid())?;
        left = &left[end..];
        let end = left
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(left.len());
        total += number
            * match &left[..end] {
                "ns" => 0.000_001,
                "us" | "µs" => 0.001,
                "ms" => 1.0,
                "s" => 1_000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                "" => return Err(format!("time: missing unit in duration \"{text}\"")),
                unit => {
                    return Err(format!(
                        "time: unknown unit \"{unit}\" in duration \"{text}\""
                    ));
                }
            };
        left = &left[end..];
    }
    if text.is_empty() {
        return Err(invalid());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a duration on a command line is small and cannot be negative here"
    )]
    Ok(total as u64)
}
