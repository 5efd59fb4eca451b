//! Templates and conditions over minijinja, strict in every respect.
//!
//! A name that is not defined is an error, never empty. Lists, mappings and nothing cannot be printed by accident: they have to be turned
//! into text by `tojson` or `toyaml`. Errors carry what went wrong and where, never the values involved: those may be secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, Expression, UndefinedBehavior};

use crate::document::Span;

mod limits;
pub(crate) mod names;
mod net;
mod text;
mod words;

/// How much work one rendering may do, in minijinja's fuel.
const FUEL: u64 = 2_000_000;

/// Text with `{{ … }}` in it, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template {
    /// What was written.
    pub source: String,
    /// Where.
    pub span: Span,
}

/// A condition or any other expression, as it was written, without braces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expr {
    /// What was written.
    pub source: String,
    /// Where.
    pub span: Span,
}

/// Names and their values.
#[derive(Debug, Clone, Default)]
pub struct Scope(BTreeMap<String, Value>);

impl Scope {
    /// Adds or replaces a name.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// A copy with one more name.
    #[must_use]
    pub fn with(&self, name: impl Into<String>, value: Value) -> Self {
        let mut copy = self.clone();
        copy.set(name, value);
        copy
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn context(&self) -> Value {
        Value::from_pairs(
            self.0
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        )
    }
}

/// Why a template or condition gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What went wrong, without values.
    pub message: String,
    /// Where in the source text, in bytes.
    pub range: Option<std::ops::Range<usize>>,
    /// The template file, where it was one.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<usize>,
}

/// Turns a value into a template value.
pub fn value<T: serde::Serialize>(from: &T) -> Value {
    Value::from(Serde(from))
}

/// The environment in which everything is rendered: the project's folder and what the playbook can ask about itself.
#[derive(Clone)]
pub struct Templates {
    environment: Arc<Environment<'static>>,
    root: PathBuf,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Templates")
    }
}

impl Templates {
    /// An environment for the project in `root`; `commands` answers `commands('tool')`.
    ///
    /// # Panics
    ///
    /// Never: the delimiters of templates are constants.
    pub fn new(root: &Path, commands: BTreeMap<String, Vec<Vec<String>>>) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_debug(true);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(100);
        let mut syntax = minijinja::syntax::SyntaxConfig::builder();
        syntax
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true);
        environment.set_syntax(syntax.build().expect("the default delimiters are valid"));
        environment.set_formatter(|out, _, value| match value.kind() {
            ValueKind::Bool => Ok(write!(out, "{}", value.is_true())?),
            ValueKind::Number | ValueKind::String => Ok(write!(out, "{value}")?),
            ValueKind::Undefined => Err(minijinja::Error::from(ErrorKind::UndefinedError)),
            ValueKind::None => Err(refused("nothing (null)", "use `default`")),
            ValueKind::Seq | ValueKind::Iterable => Err(refused(
                "a list",
                "use `| tojson`, `| toyaml` or `| join(',')`",
            )),
            ValueKind::Map => Err(refused(
                "a mapping",
                "use `| tojson` or `| toyaml`, or name one of its keys",
            )),
            _ => Err(refused("a value that is not text", "use `| tojson`")),
        });
        let loader_root = root.to_path_buf();
        environment.set_loader(move |name| {
            let path = below(&loader_root, name)?;
            match read_text(&path) {
                Ok(text) => match limits::of_template(&text) {
                    Ok(()) => Ok(Some(text)),
                    Err(error) => Err(minijinja::Error::new(
                        ErrorKind::InvalidOperation,
                        format!("{name}: {}", error.message),
                    )),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(minijinja::Error::new(
                    ErrorKind::InvalidOperation,
                    format!("cannot read {name}: {error}"),
                )),
            }
        });
        add_functions(&mut environment, root, commands);
        Self {
            environment: Arc::new(environment),
            root: root.to_path_buf(),
        }
    }

    /// Whether the text can be parsed.
    pub fn check(&self, template: &Template) -> Result<(), Error> {
        limits::of_template(&template.source)?;
        match whole_expression(&template.source) {
            Some(source) => self.environment.compile_expression(source).map(|_| ()),
            None => self
                .environment
                .template_from_str(&template.source)
                .map(|_| ()),
        }
        .map_err(|error| explain(&error))
    }

    /// Whether the condition can be parsed.
    pub fn check_expr(&self, expr: &Expr) -> Result<(), Error> {
        if let Some(at) = expr.source.find("{{").or_else(|| expr.source.find("{%")) {
            return Err(Error {
                message: "a condition is written without braces".into(),
                range: Some(at..at + 2),
                file: None,
                line: None,
            });
        }
        self.expression(&expr.source).map(|_| ())
    }

    /// The dotted names that a text uses and does not define.
    pub fn names(&self, template: &Template) -> BTreeSet<String> {
        match whole_expression(&template.source) {
            Some(source) => self.names_of(source),
            None if limits::of_template(&template.source).is_err() => BTreeSet::new(),
            None => self
                .environment
                .template_from_str(&template.source)
                .map(|template| template.undeclared_variables(true).into_iter().collect())
                .unwrap_or_default(),
        }
    }

    /// The dotted names that a condition uses.
    pub fn names_expr(&self, expr: &Expr) -> BTreeSet<String> {
        self.names_of(&expr.source)
    }

    /// The dotted names that a template file uses, with those of the files that it includes by name.
    pub fn names_file(&self, file: &str) -> Result<BTreeSet<String>, Error> {
        // The loader refuses the same, but cannot say where.
        if let Some(source) = self.file_source(file) {
            limits::of_template(&source)?;
        }
        let template = self
            .environment
            .get_template(file)
            .map_err(|error| explain(&error))?;
        Ok(template.undeclared_variables(true).into_iter().collect())
    }

    /// What a template file says, if it can be read.
    pub(crate) fn file_source(&self, file: &str) -> Option<String> {
        read_text(&below(&self.root, file).ok()?).ok()
    }

    /// The files that lie beside a template file, by the same kind of name.
    pub(crate) fn beside(&self, file: &str) -> Vec<String> {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        let Ok(path) = below(&self.root, &folder.display().to_string()) else {
            return Vec::new();
        };
        let mut names: Vec<String> = std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| folder.join(entry.file_name()).display().to_string())
            .collect();
        names.sort();
        names
    }

    /// Whether there is no such filter or test.
    pub(crate) fn lacks(&self, word: &words::Word) -> bool {
        let (source, missing) = match word.role {
            words::Role::Filter => (format!("1|{}", word.text), ErrorKind::UnknownFilter),
            words::Role::Test => (format!("1 is {}", word.text), ErrorKind::UnknownTest),
            words::Role::Name => return false,
        };
        self.environment
            .compile_expression(&source)
            .and_then(|compiled| compiled.eval(()))
            .is_err_and(|error| error.kind() == missing)
    }

    fn expression<'s>(&'s self, source: &'s str) -> Result<Expression<'s, 's>, Error> {
        limits::of_expression(source)?;
        self.environment
            .compile_expression(source)
            .map_err(|error| explain(&error))
    }

    fn names_of(&self, source: &str) -> BTreeSet<String> {
        self.expression(source)
            .map(|expr| expr.undeclared_variables(true).into_iter().collect())
            .unwrap_or_default()
    }

    /// Renders a text.
    pub fn text(&self, template: &Template, scope: &Scope) -> Result<String, Error> {
        if !template.source.contains("{{")
            && !template.source.contains("{%")
            && !template.source.contains("{#")
        {
            return Ok(template.source.clone());
        }
        limits::of_template(&template.source)?;
        self.environment
            .render_str(&template.source, scope.context())
            .map_err(|error| explain(&error))
    }

    /// Renders a text; one that is exactly one `{{ … }}` gives the value itself.
    pub fn value(&self, template: &Template, scope: &Scope) -> Result<Value, Error> {
        match whole_expression(&template.source) {
            Some(source) => self.evaluate(source, scope),
            None => self.text(template, scope).map(Value::from),
        }
    }

    /// Evaluates an expression.
    pub fn eval(&self, expr: &Expr, scope: &Scope) -> Result<Value, Error> {
        self.evaluate(&expr.source, scope)
    }

    fn evaluate(&self, source: &str, scope: &Scope) -> Result<Value, Error> {
        self.expression(source)?
            .eval(scope.context())
            .and_then(|value| {
                if value.is_undefined() {
                    Err(ErrorKind::UndefinedError.into())
                } else {
                    Ok(value)
                }
            })
            .map_err(|error| explain(&error))
    }

    /// Evaluates a condition.
    pub fn holds(&self, expr: &Expr, scope: &Scope) -> Result<bool, Error> {
        let value = self.eval(expr, scope)?;
        if value.kind() == ValueKind::Bool {
            return Ok(value.is_true());
        }
        Err(Error {
            message: "a condition is true or false, but this is neither".into(),
            range: None,
            file: None,
            line: None,
        })
    }

    /// Renders a template file, named relative to the project.
    pub fn file(&self, file: &str, scope: &Scope) -> Result<String, Error> {
        self.environment
            .get_template(file)
            .and_then(|template| template.render(scope.context()))
            .map_err(|error| explain(&error))
    }
}

/// The expression of a text that is exactly one `{{ … }}`.
pub fn whole_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}"))
        .then_some(inner.trim().trim_matches('-').trim())
}

/// A path below the project's folder; anything else is refused.
pub fn below(root: &Path, name: &str) -> Result<PathBuf, minijinja::Error> {
    let path = Path::new(name);
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if inside {
        Ok(root.join(path))
    } else {
        Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("`{name}` is not below the project's folder"),
        ))
    }
}

fn refused(what: &str, instead: &str) -> minijinja::Error {
    minijinja::Error::new(
        ErrorKind::InvalidOperation,
        format!("{what} cannot be printed; {instead}"),
    )
}

fn explain(error: &minijinja::Error) -> Error {
    let what = match error.kind() {
        ErrorKind::UndefinedError => "this name is not defined".to_owned(),
        ErrorKind::TemplateNotFound => format!(
            "there is no template file `{}`",
            error
                .detail()
                .and_then(|detail| detail.split('"').nth(1))
                .unwrap_or("of this name")
        ),
        ErrorKind::SyntaxError => format!(
            "this cannot be read: {}",
            error.detail().unwrap_or("it is no expression")
        ),
        ErrorKind::OutOfFuel => "this template does too much".to_owned(),
        kind => match error.detail() {
            None | Some("") => kind.to_string(),
            Some(detail) => detail.to_owned(),
        },
    };
    let file = error
        .name()
        .filter(|name| !name.starts_with('<'))
        .map(str::to_owned);
    Error {
        message: what,
        range: error.range(),
        line: error.line().filter(|_| file.is_some()),
        file,
    }
}

fn add_functions(
    environment: &mut Environment<'static>,
    root: &Path,
    commands: BTreeMap<String, Vec<Vec<String>>>,
) {
    net::add(environment);
    text::add(environment);
    environment.add_test("containing", |text: &str, part: &str| text.contains(part));
    environment.add_test(
        "matching",
        |text: &str, pattern: &str| match regex_lite::Regex::new(pattern) {
            Ok(regex) => Ok(regex.is_match(text)),
            Err(error) => Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                format!("`{pattern}` is not a regular expression: {error}"),
            )),
        },
    );
    environment.add_filter("toyaml", |value: &Value| {
        serde_yaml::to_string(&to_json(value))
            .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))
    });
    environment.add_filter(
        "tojson",
        |value: &Value, kwargs: Kwargs| -> Result<String, minijinja::Error> {
            let indent: Option<bool> = kwargs.get("indent")?;
            kwargs.assert_all_used()?;
            let written = if indent.unwrap_or(false) {
                serde_json::to_string_pretty(&to_json(value))
            } else {
                serde_json::to_string(&to_json(value))
            };
            written.map_err(|error| {
                minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())
            })
        },
    );
    environment.add_filter("b64encode", |text: &str| {
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
    });
    environment.add_filter("b64decode", |text: &str| {
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| {
                minijinja::Error::new(ErrorKind::InvalidOperation, "this is not base64 of text")
            })
    });
    let at = root.to_path_buf();
    environment.add_function("exists", move |path: &str| {
        Ok::<_, minijinja::Error>(below(&at, path)?.exists())
    });
    let at = root.to_path_buf();
    environment.add_function("files", move |path: &str| list(&at, path));
    let at = root.to_path_buf();
    environment.add_function("file", move |path: &str| read(&at, path));
    let at = root.to_path_buf();
    environment.add_function(
        "yaml_file",
        move |path: &str, default: Rest<Value>| -> Result<Value, minijinja::Error> {
            if let [default, ..] = default.as_slice()
                && !below(&at, path)?.exists()
            {
                return Ok(default.clone());
            }
            let text = read(&at, path)?;
            if let [default, ..] = default.as_slice()
                && text.trim().is_empty()
            {
                return Ok(default.clone());
            }
            parse_yaml(&text).map_err(|error| {
                minijinja::Error::new(
                    ErrorKind::InvalidOperation,
                    format!("{path} is not YAML: {error}"),
                )
            })
        },
    );
    environment.add_function("commands", move |tool: &str| {
        value(&commands.get(tool).cloned().unwrap_or_default())
    });
    environment.add_function("version", |text: &str| version(text));
    environment.add_function("now", || jiff::Timestamp::now().as_second());
    environment.add_function("seconds", |time: &str| {
        time.parse::<jiff::Timestamp>()
            .map(jiff::Timestamp::as_second)
            .map_err(|_| {
                minijinja::Error::new(
                    ErrorKind::InvalidOperation,
                    format!("`{time}` is not a time"),
                )
            })
    });
}

/// The files of a folder below the project, as paths below the project, by name; a folder that is not there has none. Those that begin
/// with a dot are left out.
fn list(root: &Path, path: &str) -> Result<Vec<String>, minijinja::Error> {
    let failed = |error: &std::io::Error| {
        minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("the folder {path} cannot be read: {error}"),
        )
    };
    let entries = match std::fs::read_dir(below(root, path)?) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && !name.starts_with('.') {
            names.push(format!("{}/{name}", path.trim_end_matches('/')));
        }
    }
    names.sort();
    Ok(names)
}

/// A template value as JSON; what JSON has no word for becomes its text.
pub fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Json::Null,
        ValueKind::Bool => Json::from(value.is_true()),
        ValueKind::Number => value
            .as_i64()
            .map(Json::from)
            .or_else(|| f64::try_from(value.clone()).ok().map(Json::from))
            .unwrap_or_else(|| Json::from(value.to_string())),
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()
            .map(|items| items.map(|item| to_json(&item)).collect())
            .unwrap_or_default(),
        ValueKind::Map => value
            .try_iter()
            .map(|keys| {
                keys.map(|key| {
                    (
                        key.to_string(),
                        value
                            .get_item(&key)
                            .map_or(Json::Null, |item| to_json(&item)),
                    )
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
            })
            .unwrap_or_default(),
        _ => Json::from(value.to_string()),
    }
}

/// Reads a text file, unless it is so large that it cannot be meant.
fn read_text(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > limits::LARGEST {
        let largest = limits::LARGEST;
        return Err(std::io::Error::other(format!(
            "it has {size} bytes; a file of more than {largest} is surely not meant"
        )));
    }
    std::fs::read_to_string(path)
}

fn read(root: &Path, path: &str) -> Result<String, minijinja::Error> {
    read_text(&below(root, path)?).map_err(|error| {
        minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("cannot read {path}: {error}"),
        )
    })
}

/// Parses YAML as data: one document gives itself, several give the list of them.
pub fn parse_yaml(text: &str) -> Result<Value, String> {
    let documents = parse_yaml_documents(text)?;
    match documents.as_slice() {
        [one] => Ok(one.clone()),
        _ => Ok(Value::from(documents)),
    }
}

/// Parses YAML as data: all documents.
pub fn parse_yaml_documents(text: &str) -> Result<Vec<Value>, String> {
    let mut options = serde_yaml::Options::default();
    options.strict_booleans = true;
    options.with_snippet = false;
    options.budget = None;
    serde_yaml::from_multiple_with_options::<serde_json::Value>(text, options)
        .map(|documents| documents.iter().map(value).collect())
        .map_err(|error| error.without_snippet().to_string())
}

/// Parses JSON as data: all documents that follow each other, as several tools print them.
pub fn parse_json_documents(text: &str) -> Result<Vec<Value>, String> {
    serde_json::Deserializer::from_str(text)
        .into_iter::<serde_json::Value>()
        .map(|document| {
            document
                .map(|document| value(&document))
                .map_err(|error| error.to_string())
        })
        .collect()
}

fn version(text: &str) -> Result<Value, minijinja::Error> {
    let number = |part: Option<&str>| {
        part.and_then(|part| part.split(['-', '+']).next()?.parse::<u64>().ok())
    };
    let mut parts = text.trim().trim_start_matches('v').split('.');
    let (major, minor) = (number(parts.next()), number(parts.next()));
    match (major, minor) {
        (Some(major), Some(minor)) => {
            let patch = number(parts.next()).unwrap_or(0);
            Ok(value(&BTreeMap::from([
                ("major", major),
                ("minor", minor),
                ("patch", patch),
            ])))
        }
        _ => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("`{text}` is not a version"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates() -> Templates {
        Templates::new(Path::new("."), BTreeMap::new())
    }

    fn render(source: &str, scope: &Scope) -> Result<String, String> {
        templates()
            .text(
                &Template {
                    source: source.into(),
                    span: Span::default(),
                },
                scope,
            )
            .map_err(|error| error.message)
    }

    #[test]
    fn undefined_names_are_errors() {
        assert_eq!(
            render("{{ nope }}", &Scope::default()).unwrap_err(),
            "this name is not defined"
        );
    }

    #[test]
    fn lists_and_nothing_cannot_be_printed_by_accident() {
        let mut scope = Scope::default();
        scope.set("list", value(&["a", "b"]));
        scope.set("none", value(&None::<u8>));
        scope.set("yes", value(&true));
        assert!(
            render("{{ list }}", &scope)
                .unwrap_err()
                .contains("a list cannot be printed")
        );
        assert!(
            render("{{ none }}", &scope)
                .unwrap_err()
                .contains("nothing")
        );
        assert_eq!(
            render("{{ yes }} {{ list | tojson }}", &scope).unwrap(),
            r#"true ["a","b"]"#
        );
    }

    #[test]
    fn one_expression_gives_the_value_itself() {
        let mut scope = Scope::default();
        scope.set("list", value(&["a", "b"]));
        let template = Template {
            source: "{{ list }}".into(),
            span: Span::default(),
        };
        assert_eq!(templates().value(&template, &scope).unwrap().len(), Some(2));
    }

    #[test]
    fn names_are_told_with_their_dots() {
        let template = Template {
            source: "{{ cluster.name }} {{ other }}".into(),
            span: Span::default(),
        };
        assert_eq!(
            templates().names(&template).into_iter().collect::<Vec<_>>(),
            ["cluster.name", "other"]
        );
    }

    #[test]
    fn paths_stay_below_the_project() {
        assert!(
            render("{{ file('../secret') }}", &Scope::default())
                .unwrap_err()
                .contains("not below")
        );
    }
}
