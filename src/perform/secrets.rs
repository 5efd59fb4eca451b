//! References to secrets become values: in memory, once an item and story, and masked from then on.
//!
//! A reference such as `op://Prod/infra-talos/MACHINE_TOKEN` names a scheme, a vault, an item, perhaps a section, and a field. The playbook
//! says how a scheme's items are had (`providers`); nothing of any provider is known here. Only references are replaced: never
//! variables, never comments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use minijinja::value::Value;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::engine::Reporter;
use crate::perform::command::Request;
use crate::perform::{Performer, Stop, Work};
use crate::plan::{Duty, TaskIx};
use crate::playbook::{Provider, References, Render, Stage};
use crate::process::Cancel;
use crate::run::{Failure, FailureKind};
use crate::secret::{Mask, Secret};
use crate::template;

/// Strings of a secret answer that are at least as long as this, and look like made by a machine, are masked.
const LONG: usize = 16;
/// How long a provider may take for one item.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

type Cell = Arc<OnceCell<Arc<Zeroizing<String>>>>;

/// What was fetched in this run.
#[derive(Default)]
pub struct Store {
    items: Mutex<BTreeMap<(String, String, String, String), Cell>>,
    outputs: Mutex<BTreeMap<(String, String), Secret>>,
}

/// A reference as it stands in a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    scheme: String,
    vault: String,
    item: String,
    section: Option<String>,
    field: String,
    text: String,
}

impl Reference {
    /// Reads a reference; `None` if it has too few or too many parts.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (vault, item, section, field) = match parts.as_slice() {
            [vault, item, field] => (vault, item, None, field),
            [vault, item, section, field] => (vault, item, Some((*section).to_owned()), field),
            _ => return None,
        };
        if [vault, item, field].iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(Self {
            scheme: scheme.to_owned(),
            vault: (*vault).to_owned(),
            item: (*item).to_owned(),
            section,
            field: (*field).to_owned(),
            text: text.to_owned(),
        })
    }
}

/// Where references of the given schemes stand in a text: ranges of bytes. Comment lines are left alone.
pub fn find(text: &str, schemes: &[&str]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if !line.trim_start().starts_with('#') {
            for scheme in schemes {
                let begin = format!("{scheme}://");
                for (at, _) in line.match_indices(&begin) {
                    let before = line[..at].chars().next_back();
                    if before.is_some_and(|c| c.is_ascii_alphanumeric() || "-+\\.".contains(c)) {
                        continue;
                    }
                    let quote = before.filter(|c| *c == '"' || *c == '\'');
                    let rest = &line[at + begin.len()..];
                    let length = rest
                        .find(|c: char| match quote {
                            Some(quote) => c == quote || c == '\n',
                            None => !(c.is_ascii_alphanumeric() || "-?_./".contains(c)),
                        })
                        .unwrap_or(rest.len());
                    found.push(start + at..start + at + begin.len() + length);
                }
            }
        }
        start += line.len();
    }
    found.sort_by_key(|range| range.start);
    found
}

/// Reads a file of references and values: `op://Vault/item/FIELD: value`.
pub fn read_secrets_file(path: &std::path::Path) -> Result<BTreeMap<String, Secret>, String> {
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| error.to_string())?);
    let values: BTreeMap<String, String> = serde_yaml::from_str(&text)
        .map_err(|_| "it is not a mapping of references to texts".to_owned())?;
    for reference in values.keys() {
        if Reference::parse(reference).is_none() {
            return Err(format!(
                "`{reference}` is not a reference such as op://Vault/item/FIELD"
            ));
        }
    }
    Ok(values
        .into_iter()
        .map(|(reference, value)| (reference, Secret::new(value)))
        .collect())
}

impl Store {
    /// Masks what a command that was declared secret has printed.
    pub(crate) fn learn(mask: &Mask, bytes: &[u8], public: &str) {
        let text = String::from_utf8_lossy(bytes);
        let mut words = Vec::new();
        if let Ok(documents) = template::parse_yaml_documents(&text) {
            for document in &documents {
                strings(&template::to_json(document), &mut words);
            }
        }
        if words.is_empty() {
            words.extend(text.lines().map(|line| line.trim().to_owned()));
        }
        let secret = words
            .iter()
            .filter(|word| looks_secret(word) && !public.contains(word.as_str()));
        mask.add_texts(secret.map(String::as_str));
    }

    pub(crate) fn keep_output(&self, task: &str, name: &str, secret: Secret) {
        self.outputs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((task.to_owned(), name.to_owned()), secret);
    }

    pub(crate) fn output(&self, step: &str, item: &str, name: &str) -> Option<String> {
        let task = if item.is_empty() {
            step.to_owned()
        } else {
            format!("{step}[{item}]")
        };
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs
            .get(&(task, name.to_owned()))
            .map(|secret| secret.reveal().to_owned())
    }

    fn cell(&self, story: &str, reference: &Reference) -> Cell {
        let key = (
            story.to_owned(),
            reference.scheme.clone(),
            reference.vault.clone(),
            reference.item.clone(),
        );
        Arc::clone(
            self.items
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_default(),
        )
    }
}

/// Whether a string can be a key or a token: long, of one piece, with letters and digits.
fn looks_secret(word: &str) -> bool {
    let piece = |c: char| c.is_ascii_alphanumeric() || "+/=_-.".contains(c);
    let lines = word.lines().count();
    word.len() >= LONG
        && (lines > 1 || word.chars().all(piece))
        && word.chars().any(|c| c.is_ascii_digit())
        && word.chars().any(|c| c.is_ascii_alphabetic())
}

fn strings(json: &serde_json::Value, words: &mut Vec<String>) {
    match json {
        serde_json::Value::String(text) => words.push(text.clone()),
        serde_json::Value::Array(values) => values.iter().for_each(|value| strings(value, words)),
        serde_json::Value::Object(entries) => {
            entries.values().for_each(|value| strings(value, words));
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

impl Performer {
    fn schemes(&self) -> Vec<&str> {
        let mut schemes: Vec<&str> = self
            .project
            .playbook
            .providers
            .keys()
            .map(String::as_str)
            .collect();
        if let Some(secrets) = &self.settings.secrets {
            schemes.extend(
                secrets
                    .keys()
                    .filter_map(|reference| reference.split_once("://").map(|(scheme, _)| scheme)),
            );
        }
        schemes.sort_unstable();
        schemes.dedup();
        schemes
    }

    /// Every reference in the texts of the plan's tasks, as far as they can be made before anything runs; where values are given in place of
    /// a provider, also those that are given.
    pub async fn references(&self) -> BTreeSet<String> {
        let schemes = self.schemes();
        let cancel = Cancel::new();
        let mut references: BTreeSet<String> = BTreeSet::new();
        if let Some(secrets) = &self.settings.secrets {
            references.extend(secrets.keys().cloned());
        }
        for (ix, task) in self.plan.tasks() {
            let Duty::Work(body) = &task.duty else {
                continue;
            };
            let reporter = Reporter::nowhere(ix);
            let work = self.work(task, 0, &reporter, &cancel);
            let Ok(scope) = work.bound(task, &self.scope(task, 0, &BTreeMap::new())) else {
                continue;
            };
            for stage in body.stages() {
                let Stage::Render(render) = stage else {
                    continue;
                };
                let kept = Render {
                    secrets: References::Keep,
                    input: None,
                    ..render.clone()
                };
                // A text that needs what arrives on its pipe cannot be made now.
                if let Ok(text) = work.rendered(&kept, None, &scope).await {
                    let text = String::from_utf8_lossy(&text);
                    references.extend(
                        find(&text, &schemes)
                            .into_iter()
                            .map(|range| text[range].to_owned()),
                    );
                }
            }
        }
        references
    }

    /// The values of references, asked for as a run does; and why those that are missing could not be had.
    pub async fn values(
        &self,
        references: &BTreeSet<String>,
    ) -> (Vec<(String, Secret)>, Vec<String>) {
        let cancel = Cancel::new();
        let reporter = Reporter::nowhere(TaskIx(0));
        let work = self.alone("audit", &reporter, &cancel);
        let (mut values, mut missing) = (Vec::new(), Vec::new());
        for reference in references {
            match work.value(reference).await {
                Ok(secret) => {
                    self.mask.add(&secret);
                    values.push((reference.clone(), secret));
                }
                Err(Stop::Failed(failure, _)) => {
                    missing.push(self.masked_text(&format!("{reference}: {}", failure.message)));
                }
                Err(Stop::Cancelled) => missing.push(format!("{reference}: cancelled")),
            }
        }
        (values, missing)
    }

    /// Puts base64 of each reference in its place: it decodes, and [`Performer::reveal_references`] turns it back.
    pub(crate) fn placeholders(&self, text: &str) -> Zeroizing<String> {
        let mut out = String::with_capacity(text.len());
        let mut last = 0;
        for range in find(text, &self.schemes()) {
            out.push_str(&text[last..range.start]);
            out.push_str(&base64::engine::general_purpose::STANDARD.encode(&text[range.clone()]));
            last = range.end;
        }
        out.push_str(&text[last..]);
        Zeroizing::new(out)
    }

    /// Turns placeholders back into the references that they stand for.
    pub fn reveal_references(&self, text: &str) -> String {
        let schemes = self.schemes();
        let mut out = String::with_capacity(text.len());
        let mut word = String::new();
        let flush = |word: &mut String, out: &mut String| {
            let decoded = base64::engine::general_purpose::STANDARD
                .decode(word.as_bytes())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .filter(|text| {
                    schemes
                        .iter()
                        .any(|scheme| text.starts_with(&format!("{scheme}://")))
                });
            out.push_str(decoded.as_deref().unwrap_or(word));
            word.clear();
        };
        for c in text.chars() {
            if c.is_ascii_alphanumeric() || "+/=".contains(c) {
                word.push(c);
            } else {
                flush(&mut word, &mut out);
                out.push(c);
            }
        }
        flush(&mut word, &mut out);
        out
    }
}

impl Work<'_> {
    /// Puts values in the place of all references.
    pub(crate) async fn resolve(&self, text: &str) -> Result<Zeroizing<String>, Stop> {
        let schemes = self.performer.schemes();
        let ranges = find(text, &schemes);
        let mut values: BTreeMap<String, Secret> = BTreeMap::new();
        let mut missing = Vec::new();
        for range in &ranges {
            let written = &text[range.clone()];
            if values.contains_key(written) {
                continue;
            }
            match self.value(written).await {
                Ok(secret) => {
                    self.performer.mask.add(&secret);
                    values.insert(written.to_owned(), secret);
                }
                Err(Stop::Failed(failure, _)) if failure.kind == FailureKind::Secret => {
                    missing.push(failure.message);
                }
                Err(other) => return Err(other),
            }
        }
        if !missing.is_empty() {
            missing.dedup();
            return Err(Failure::new(FailureKind::Secret, missing.join("; ")).into());
        }
        Ok(splice(text, &ranges, &values)?)
    }

    /// Puts values in the place of all references; the values come from one item, as a provider would answer it.
    pub(crate) fn resolve_from(&self, text: &str, item: &str) -> Result<Zeroizing<String>, Stop> {
        let ranges = find(text, &self.performer.schemes());
        let json = parse_item(item, "what arrived on the pipe")?;
        let mut values = BTreeMap::new();
        for range in &ranges {
            let written = &text[range.clone()];
            let reference = parsed(written)?;
            let secret = self.field(&reference, &json)?;
            self.performer.mask.add(&secret);
            values.insert(written.to_owned(), secret);
        }
        Ok(splice(text, &ranges, &values)?)
    }

    async fn value(&self, written: &str) -> Result<Secret, Stop> {
        if let Some(secrets) = &self.performer.settings.secrets {
            return secrets
                .get(written)
                .map(|secret| Secret::new(secret.reveal()))
                .ok_or_else(|| {
                    Failure::new(
                        FailureKind::Secret,
                        format!("the secrets file has no {written}"),
                    )
                    .into()
                });
        }
        let reference = parsed(written)?;
        let cell = self.performer.secrets.cell(&self.story, &reference);
        let item = cell.get_or_try_init(|| self.fetch(&reference)).await?;
        let json = parse_item(
            item,
            &format!(
                "{}://{}/{}",
                reference.scheme, reference.vault, reference.item
            ),
        )?;
        Ok(self.field(&reference, &json)?)
    }

    fn provider(&self, reference: &Reference) -> Result<&Provider, Failure> {
        let providers = &self.performer.project.playbook.providers;
        providers.get(&reference.scheme).ok_or_else(|| {
            Failure::new(
                FailureKind::Secret,
                format!("nothing is known about {}:// references", reference.scheme),
            )
        })
    }

    /// Fetches a whole item: one call, whatever the number of fields and nodes.
    async fn fetch(&self, reference: &Reference) -> Result<Arc<Zeroizing<String>>, Stop> {
        let provider = self.provider(reference)?;
        let scope = self
            .performer
            .project
            .inventory
            .scope()
            .with("vault", Value::from(reference.vault.as_str()))
            .with("item", Value::from(reference.item.as_str()));
        let argv = provider
            .item
            .iter()
            .map(|word| self.text(word, &scope))
            .collect::<Result<Vec<_>, _>>()?;
        let request = Request {
            argv,
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
            timeout: TIMEOUT,
            log: None,
            acts: false,
            whole: true,
        };
        let answer = Box::pin(self.command(&request)).await?;
        if !answer.succeeded() {
            let message = format!(
                "{}://{}/{} cannot be had: {}",
                reference.scheme,
                reference.vault,
                reference.item,
                answer.last_line()
            );
            return Err(Failure::new(FailureKind::Secret, message).into());
        }
        let stdout = answer.into_stdout();
        Store::learn(&self.performer.mask, &stdout, &self.performer.public);
        let text = String::from_utf8(stdout.to_vec()).map_err(|_| {
            Failure::new(
                FailureKind::Secret,
                format!("the item {} is not text", reference.item),
            )
        })?;
        Ok(Arc::new(Zeroizing::new(text)))
    }

    /// The one value of a field.
    fn field(&self, reference: &Reference, json: &serde_json::Value) -> Result<Secret, Failure> {
        let provider = self.provider(reference)?;
        let scope = self
            .performer
            .project
            .inventory
            .scope()
            .with("json", template::value(json))
            .with("field", Value::from(reference.field.as_str()))
            .with("section", template::value(&reference.section));
        let given = self
            .performer
            .project
            .templates
            .eval(&provider.value, &scope)
            .map_err(|error| {
                Failure::new(FailureKind::Secret, format!("{}: {error}", reference.text))
            })?;
        let values: Vec<Value> = match given.as_str() {
            Some(_) => vec![given],
            None => given.try_iter().map(Iterator::collect).unwrap_or_default(),
        };
        match values.as_slice() {
            [one] => match one.as_str().filter(|text| !text.is_empty()) {
                Some(text) => Ok(Secret::new(text)),
                None => Err(Failure::new(
                    FailureKind::Secret,
                    format!("{} is empty", reference.text),
                )),
            },
            [] => Err(Failure::new(
                FailureKind::Secret,
                format!(
                    "{} does not exist: the item has no such field",
                    reference.text
                ),
            )),
            _ => Err(Failure::new(
                FailureKind::Secret,
                format!(
                    "{} is ambiguous: the item has several such fields",
                    reference.text
                ),
            )),
        }
    }
}

fn parsed(written: &str) -> Result<Reference, Failure> {
    Reference::parse(written).ok_or_else(|| {
        Failure::new(
            FailureKind::Secret,
            format!("{written} is not a reference: it has to be SCHEME://VAULT/ITEM/FIELD"),
        )
    })
}

fn parse_item(text: &str, what: &str) -> Result<serde_json::Value, Failure> {
    serde_json::from_str(text).map_err(|_| {
        Failure::new(
            FailureKind::Secret,
            format!("{what} is not an item in JSON"),
        )
    })
}

/// Puts the values in. A value that is not a plain word is quoted as the place demands, so that it cannot change the document's shape.
fn splice(
    text: &str,
    ranges: &[std::ops::Range<usize>],
    values: &BTreeMap<String, Secret>,
) -> Result<Zeroizing<String>, Failure> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2));
    let mut last = 0;
    for range in ranges {
        let written = &text[range.clone()];
        let value = values
            .get(written)
            .expect("every reference was resolved")
            .reveal();
        out.push_str(&text[last..range.start]);
        last = range.end;
        let plain = value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+/=_-.".contains(c));
        let escaped = || {
            let quoted = serde_json::Value::from(value).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        };
        match text[..range.start].chars().next_back() {
            _ if plain => out.push_str(value),
            Some('"') => out.push_str(&escaped()),
            Some('\'') if !value.contains(['\n', '\'']) => out.push_str(value),
            Some('\'') => {
                return Err(Failure::new(
                    FailureKind::Secret,
                    format!("the value of {written} cannot stand in single quotes"),
                ));
            }
            _ => {
                let line =
                    &text[text[..range.start].rfind('\n').map_or(0, |at| at + 1)..range.start];
                let scalar = line.trim_end().ends_with(':') || line.trim_start() == "- ";
                if scalar {
                    out.push('"');
                    out.push_str(&escaped());
                    out.push('"');
                } else {
                    out.push_str(value);
                }
            }
        }
    }
    out.push_str(&text[last..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        find(text, &["op"])
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn references_are_found_and_comments_are_left_alone() {
        assert_eq!(
            texts("a: op://Prod/i/F\n# op://Prod/i/G\nb: \"op://Prod/my item/F\" # op://x"),
            ["op://Prod/i/F", "op://Prod/my item/F", "op://x"]
        );
        assert_eq!(texts("shop://a/b/c"), [] as [&str; 0]);
    }

    #[test]
    fn a_reference_has_three_or_four_parts() {
        assert_eq!(
            Reference::parse("op://v/i/s/f").unwrap().section.as_deref(),
            Some("s")
        );
        assert!(Reference::parse("op://v/i").is_none());
        assert!(Reference::parse("op://v/a/b/c/d").is_none());
    }

    #[test]
    fn a_value_cannot_change_the_shape_of_the_document() {
        let text = "a: op://v/i/F\nb: \"op://v/i/F\"\n";
        let values = BTreeMap::from([("op://v/i/F".to_owned(), Secret::new("x: {y}\n\"z\""))]);
        let spliced = splice(text, &find(text, &["op"]), &values).unwrap();
        assert_eq!(
            spliced.as_str(),
            "a: \"x: {y}\\n\\\"z\\\"\"\nb: \"x: {y}\\n\\\"z\\\"\"\n"
        );
    }
}
