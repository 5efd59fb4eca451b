//! Whether a text can be rendered at all: it parses, and every name, filter and test in it is known. What is not is pointed at, with the
//! word that was probably meant.

use std::ops::Range;

use minijinja::value::ValueKind;

use crate::document::diagnostic::{MOST, nearest};
use crate::document::{Diagnostic, Diagnostics, Sources, Span};
use crate::template::words::{self, Role, Word};
use crate::template::{Error, Expr, Scope, Template, Templates};

/// Names that are functions everywhere.
pub(crate) const FUNCTIONS: [&str; 22] = [
    "beside",
    "commands",
    "cycle",
    "debug",
    "dict",
    "exists",
    "false",
    "file",
    "files",
    "loop",
    "namespace",
    "network",
    "none",
    "now",
    "range",
    "reach",
    "seconds",
    "self",
    "true",
    "variables",
    "version",
    "yaml_file",
];

/// Names that every run has.
pub(crate) const RUN: [&str; 2] = ["run", "steps"];

/// Names that stand for an answer, wherever there is one.
const OF_ANSWERS: [&str; 9] = [
    "exit",
    "signal",
    "timed_out",
    "stdout",
    "stderr",
    "json",
    "yaml",
    "jsons",
    "yamls",
];

/// The filters and tests that are suggested.
const FILTERS: [&str; 51] = [
    "abs",
    "attr",
    "b64decode",
    "b64encode",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "default",
    "dictsort",
    "escape",
    "expand",
    "first",
    "float",
    "format",
    "fromyaml",
    "groupby",
    "host",
    "indent",
    "int",
    "ip_number",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "prefix_length",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "sum",
    "tojson",
    "string",
    "title",
    "toyaml",
    "trim",
    "unique",
    "upper",
    "urlencode",
];
const TESTS: [&str; 22] = [
    "boolean",
    "containing",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "holding",
    "in",
    "integer",
    "iterable",
    "lower",
    "mapping",
    "matching",
    "none",
    "number",
    "overlapping",
    "sequence",
    "startingwith",
    "string",
    "undefined",
];

/// What may be used in a text besides its scope.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known<'a> {
    /// Names that exist only here, such as those of an answer.
    pub(crate) more: &'a [&'a str],
    /// Outputs that can be read: the step, and their names.
    pub(crate) outputs: &'a [(&'a str, Vec<&'a str>)],
    /// Outputs of steps that do not come before.
    pub(crate) elsewhere: &'a [&'a str],
}

/// A name that is not known.
struct Unknown {
    word: String,
    help: Option<String>,
}

/// Checks texts.
#[derive(Clone, Copy)]
pub(crate) struct Checker<'a> {
    /// Parses.
    pub(crate) templates: &'a Templates,
    /// Where the texts stand.
    pub(crate) sources: &'a Sources,
}

impl Checker<'_> {
    /// A text with braces; gives whether it is sound.
    pub(crate) fn template(
        &self,
        template: &Template,
        scope: &Scope,
        known: Known<'_>,
        problems: &mut Diagnostics,
    ) -> bool {
        let (source, span) = (template.source.as_str(), template.span);
        if let Err(error) = self.templates.check(template) {
            problems.push(self.pointed(span, source, &error));
            return false;
        }
        let words = words::of_template(source);
        let found = self.unknown(&words, self.templates.names(template), scope, known);
        self.tell(span, source, found, problems)
    }

    /// A condition; gives whether it is sound.
    pub(crate) fn expr(
        &self,
        expr: &Expr,
        scope: &Scope,
        known: Known<'_>,
        problems: &mut Diagnostics,
    ) -> bool {
        let (source, span) = (expr.source.as_str(), expr.span);
        if let Err(error) = self.templates.check_expr(expr) {
            let diagnostic = self.pointed(span, source, &error);
            let habits = [
                ("&&", "and is written `and`"),
                ("||", "or is written `or`"),
                ("!", "not is written `not`, and unequal `!=`"),
                ("=", "equal is written `==`"),
            ];
            let plain = source.replace("==", "").replace("!=", "");
            let habit = habits
                .iter()
                .find(|(sign, _)| plain.replace(">=", "").replace("<=", "").contains(sign));
            problems.push(helped(
                diagnostic,
                habit.map(|(_, help)| (*help).to_owned()),
            ));
            return false;
        }
        let words = words::of_expression(source);
        let found = self.unknown(&words, self.templates.names_expr(expr), scope, known);
        self.tell(span, source, found, problems)
    }

    /// A template file whose name stands at `name`, with the files that it includes by name.
    pub(crate) fn file(
        &self,
        name: &Template,
        scope: &Scope,
        known: Known<'_>,
        problems: &mut Diagnostics,
    ) {
        let Ok(first) = self.templates.text(name, scope) else {
            let known = Known { more: &[], ..known };
            self.template(name, scope, known, problems);
            return;
        };
        let mut seen = vec![first];
        let mut at = 0;
        while let Some(file) = seen.get(at).cloned() {
            at += 1;
            let used = match self.templates.names_file(&file) {
                Ok(used) => used,
                Err(error) => {
                    problems.push(self.pointed_file(name, &file, &error));
                    continue;
                }
            };
            let Some(source) = self.templates.file_source(&file) else {
                continue;
            };
            let words = words::of_template(&source);
            for (message, help, range) in self.unknown(&words, used, scope, known) {
                let diagnostic = Diagnostic::at(name.span, message).within(&file, &source, range);
                problems.push(helped(diagnostic, help));
            }
            for included in included(&source) {
                if !seen.contains(&included) {
                    seen.push(included);
                }
            }
        }
    }

    /// An error of a text, at its place.
    pub(crate) fn pointed(&self, span: Span, source: &str, error: &Error) -> Diagnostic {
        let place = match &error.range {
            Some(range) => self.sources.inside(span, source, range),
            None => span,
        };
        let diagnostic = Diagnostic::at(place, error.message.clone());
        match (&error.file, error.line) {
            (Some(file), Some(line)) => {
                Diagnostic::at(span, format!("{file}:{line}: {}", error.message))
            }
            _ => diagnostic,
        }
    }

    fn pointed_file(&self, name: &Template, file: &str, error: &Error) -> Diagnostic {
        let diagnostic = Diagnostic::at(name.span, error.message.clone());
        match (self.templates.file_source(file), &error.range) {
            (Some(source), Some(range)) => diagnostic.within(file, &source, range.clone()),
            (Some(_), None) => diagnostic,
            (None, _) => {
                let beside = self.templates.beside(file);
                let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                let names: Vec<String> = beside.iter().map(|path| name(path)).collect();
                let near = nearest(&name(file), names.iter().map(String::as_str))
                    .and_then(|near| beside.iter().find(|path| path.ends_with(near)));
                match near {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None if beside.is_empty() => diagnostic,
                    None => diagnostic.help(format!("beside it there are: {}", beside.join(", "))),
                }
            }
        }
    }

    fn tell(
        &self,
        span: Span,
        source: &str,
        found: Vec<(String, Option<String>, Range<usize>)>,
        problems: &mut Diagnostics,
    ) -> bool {
        let sound = found.is_empty();
        for (message, help, range) in found {
            if problems.is_full() {
                break;
            }
            let place = self.sources.inside(span, source, &range);
            problems.push(helped(Diagnostic::at(place, message), help));
        }
        sound
    }

    /// What is not known: message, help and place in the text.
    fn unknown(
        &self,
        words: &[Word],
        names: impl IntoIterator<Item = String>,
        scope: &Scope,
        known: Known<'_>,
    ) -> Vec<(String, Option<String>, Range<usize>)> {
        let mut found = Vec::new();
        for word in words {
            let (what, candidates): (&str, &[&str]) = match word.role {
                Role::Filter => ("filter", &FILTERS),
                Role::Test => ("test", &TESTS),
                Role::Name => continue,
            };
            if self.templates.lacks(word) {
                let near = nearest(&word.text, candidates.iter().copied());
                found.push((
                    format!("there is no {what} `{}`", word.text),
                    near.map(|near| format!("did you mean `{near}`?")),
                    word.range.clone(),
                ));
            }
        }
        for name in names {
            if found.len() > MOST {
                break;
            }
            if let Err(Unknown { word, help }) = lookup(&name, scope, known) {
                let ranges: Vec<Range<usize>> = words
                    .iter()
                    .filter(|used| used.role == Role::Name)
                    .filter(|used| {
                        used.text
                            .strip_prefix(word.as_str())
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    })
                    .map(|used| used.range.start..used.range.start + word.len())
                    .collect();
                let message = format!("`{word}` is not defined here");
                found.push((message, help, ranges.first().cloned().unwrap_or(0..0)));
            }
        }
        found
    }
}

fn helped(diagnostic: Diagnostic, help: Option<String>) -> Diagnostic {
    match help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// The files that a template includes, extends or imports by a plain name.
pub(crate) fn included(source: &str) -> Vec<String> {
    // A name that something is added to is no plain name.
    let pattern = r#"\{%[-+]?\s*(?:include|extends|import|from)\s+["']([^"']+)["']\s*(?:[-+]?%\}|import|as|ignore|with)"#;
    let regex = regex_lite::Regex::new(pattern).expect("the pattern is a regular expression");
    regex
        .captures_iter(source)
        .map(|found| found[1].to_owned())
        .collect()
}

/// Whether a dotted name is known; otherwise the part that is not, and what to do.
fn lookup(name: &str, scope: &Scope, known: Known<'_>) -> Result<(), Unknown> {
    let mut parts = name.split('.');
    let root = parts.next().unwrap_or(name);
    if root == "steps" {
        return step_output(name, known);
    }
    let Some(value) = scope.get(root) else {
        if known.more.contains(&root) || FUNCTIONS.contains(&root) || RUN.contains(&root) {
            return Ok(());
        }
        return Err(Unknown {
            word: root.to_owned(),
            help: Some(help_with_root(root, scope, known)),
        });
    };
    let mut value = value.clone();
    let mut path = root.to_owned();
    for part in parts {
        if value.kind() != ValueKind::Map {
            return Ok(());
        }
        match value.get_attr(part) {
            Ok(inner) if !inner.is_undefined() => value = inner,
            _ => {
                // A method of mappings, such as `items`, is not a key.
                if ["items", "keys", "values", "get"].contains(&part) {
                    return Ok(());
                }
                let keys: Vec<String> = value
                    .try_iter()
                    .map(|keys| keys.map(|key| key.to_string()).collect())
                    .unwrap_or_default();
                let help = match nearest(part, keys.iter().map(String::as_str)) {
                    Some(near) => Some(format!("did you mean `{path}.{near}`?")),
                    None if keys.is_empty() || keys.len() > 20 => None,
                    None => Some(format!("`{path}` has: {}", keys.join(", "))),
                };
                return Err(Unknown {
                    word: format!("{path}.{part}"),
                    help,
                });
            }
        }
        path = format!("{path}.{part}");
    }
    Ok(())
}

fn help_with_root(root: &str, scope: &Scope, known: Known<'_>) -> String {
    if ["node", "cluster"].contains(&root) {
        return format!(
            "`{root}` is known under `for_each: {root}s`, or where it is a parameter (`with`)"
        );
    }
    if OF_ANSWERS.contains(&root) {
        return format!(
            "`{root}` is known only in conditions about a command's answer: `answers`, `met`, `maybe`, `retry.when`, `select`"
        );
    }
    let mut known: Vec<&str> = scope.names().chain(known.more.iter().copied()).collect();
    known.sort_unstable();
    match nearest(root, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

fn step_output(name: &str, known: Known<'_>) -> Result<(), Unknown> {
    let mut parts = name.split('.').skip(1);
    let Some(step) = parts.next() else {
        return Ok(());
    };
    let Some((_, names)) = known.outputs.iter().find(|(known, _)| *known == step) else {
        let help = if known.elsewhere.contains(&step) {
            Some(format!(
                "the step `{step}` has outputs, but it need not come before: add it to `needs`"
            ))
        } else {
            let steps = known.outputs.iter().map(|(known, _)| *known);
            nearest(step, steps.chain(known.elsewhere.iter().copied()))
                .map(|near| format!("did you mean `steps.{near}`?"))
                .or_else(|| {
                    Some("no step of this story that comes before has outputs by this name".into())
                })
        };
        return Err(Unknown {
            word: format!("steps.{step}"),
            help,
        });
    };
    match parts.next() {
        Some(output) if !names.contains(&output) => Err(Unknown {
            word: format!("steps.{step}.{output}"),
            help: Some(match nearest(output, names.iter().copied()) {
                Some(near) => format!("did you mean `steps.{step}.{near}`?"),
                None => format!("its outputs are: {}", names.join(", ")),
            }),
        }),
        _ => Ok(()),
    }
}

/// Whether a condition is the same whatever is known: it uses no name at all. Then what it gives.
pub(crate) fn constant(templates: &Templates, expr: &Expr) -> Option<bool> {
    if !templates.names_expr(expr).is_empty() {
        return None;
    }
    templates.holds(expr, &Scope::default()).ok()
}
