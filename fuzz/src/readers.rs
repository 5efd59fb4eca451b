//! What the fuzzer and `make test` do with any text at all: one function a reader. Each ends without a panic, or a promise of the reader
//! is broken.
//!
//! The same functions play the checked-in corpus in `tests/it/corpus.rs`, without a fuzzer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bootstrap::document::{self, Diagnostics, Key, Node, Shape, Sources, Span};
use bootstrap::inventory::Inventory;
use bootstrap::journal::{Durability, Error, Journal, Loaded, Record};
use bootstrap::observe::history;
use bootstrap::plan::{self, Extent, Ingredients, Plan, Selection};
use bootstrap::project::Project;
use bootstrap::run::event::Who;
use bootstrap::run::{AttemptEnd, Decision, Event, Limits, Mode, Run, decide};
use bootstrap::template::{self, Expr, Scope, Template, Templates};

/// Does all that is done with a text, with a folder for the files that this needs.
pub type Reader = fn(&Path, &[u8]);

/// The names of all readers, with the readers: what the corpus has a folder for.
pub const READERS: [(&str, Reader); 5] = [
    ("document", document),
    ("inventory", inventory),
    ("template", template),
    ("project", project),
    ("journal", journal),
];

/// YAML as text with places: every value stands inside the text, and what is wrong is pointed at.
pub fn document(_: &Path, bytes: &[u8]) {
    let mut read = Read::default();
    if let Some((file, text, node)) = read.yaml(bytes) {
        inside(&node, file, &text);
        // As data for templates: the parser of answers has other options.
        drop(template::parse_yaml_documents(&text));
    }
    read.judge();
}

/// An inventory, with its types and lints.
pub fn inventory(folder: &Path, bytes: &[u8]) {
    let mut read = Read::default();
    if let Some((_, _, node)) = read.yaml(bytes)
        && let Some(inventory) = Inventory::read(folder, &node, &mut read.problems)
    {
        let templates = Templates::new(folder, BTreeMap::new());
        inventory.lint(&templates, &read.sources, &mut read.problems);
        for node in inventory.nodes() {
            assert!(inventory.node(node.name()).is_some());
        }
        for cluster in inventory.clusters() {
            assert_eq!(cluster.identity(), cluster.identity());
        }
    }
    read.judge();
}

/// A template and a condition: as they stand in a file, and rendered.
pub fn template(folder: &Path, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut read = Read::default();
    let file = read.sources.add("t.yaml".into(), text.to_owned());
    let span = Span {
        file,
        start: 0,
        end: text.len(),
    };
    let words = |words: &str| Node {
        shape: Shape::Text(words.to_owned()),
        span,
    };
    let map = |entries: Vec<(&str, Node)>| Node {
        shape: Shape::Map(
            entries
                .into_iter()
                .map(|(key, node)| {
                    let text = key.to_owned();
                    (Key { text, span }, node)
                })
                .collect(),
        ),
        span,
    };
    // A lint has both, and nothing stands between it and the text.
    let lints = [(text, "no"), ("false", text)]
        .map(|(that, say)| map(vec![("that", words(that)), ("say", words(say))]));
    let lints = Node {
        shape: Shape::List(lints.into()),
        span,
    };
    let templates = Templates::new(folder, BTreeMap::new());
    let written = map(vec![("lints", lints)]);
    if let Some(inventory) = Inventory::read(folder, &written, &mut read.problems) {
        inventory.lint(&templates, &read.sources, &mut read.problems);
    }
    read.judge();

    let template = Template {
        source: text.to_owned(),
        span,
    };
    let expr = Expr {
        source: text.to_owned(),
        span,
    };
    let scope = scope();
    let ranges = [
        templates.check(&template).err(),
        templates.check_expr(&expr).err(),
        templates.text(&template, &scope).err(),
        templates.value(&template, &scope).err(),
        templates.holds(&expr, &scope).err(),
    ];
    for error in ranges.into_iter().flatten() {
        assert!(!error.message.is_empty());
    }
    if let Ok(value) = templates.value(&template, &scope) {
        drop(template::to_json(&value));
    }
    templates.names(&template);
    templates.names_expr(&expr);
}

/// The names that templates of the corpus use.
fn scope() -> Scope {
    let mut scope = Scope::default();
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let node = json(
        r#"{"name":"infra-01","ip":"10.25.11.11","cluster":"infra","disks":["/dev/sda"],"spare":null}"#,
    );
    scope.set("node", template::value(&node));
    scope.set("cluster", template::value(&json(r#"{"name":"infra","pods":"10.244.0.0/16","nodes":[{"name":"a"},{"name":"b"}],"vip":"10.25.11.10"}"#)));
    scope.set(
        "site",
        template::value(&json(r#"{"domain":"example.org","mtu":9000,"on":true}"#)),
    );
    scope.set("stdout", template::value(&"a: 1\nb: [2]\n"));
    scope.set(
        "json",
        template::value(&json(r#"[{"a":1},{"a":2,"b":{"c":"d"}}]"#)),
    );
    scope.set("exit", template::value(&0));
    scope
}

/// A project: several files in one text, each after a line `#% NAME`. What loads has a plan, or is told why not.
pub fn project(folder: &Path, bytes: &[u8]) {
    let root = folder.join("project");
    lay(&root, bytes);
    match Project::load(&root) {
        Ok(project) => {
            let everything = |project| plan::make(project, &Selection::Everything, Extent::Whole);
            match everything(&project) {
                Ok(plan) => {
                    sound(&plan);
                    let again = everything(&project).unwrap();
                    assert_eq!(
                        plan.fingerprint(),
                        again.fingerprint(),
                        "the same files, the same plan"
                    );
                    for (id, _) in &plan.stories {
                        let story = Selection::Story(id.clone());
                        for extent in [Extent::Whole, Extent::Only, Extent::Criteria] {
                            sound(&plan::make(&project, &story, extent).unwrap_or_else(
                                |problems| {
                                    panic!(
                                        "valid, but {id} has no plan: {}",
                                        problems.render(&project.sources, false)
                                    )
                                },
                            ));
                        }
                    }
                }
                Err(problems) => judge(&project.sources, &problems),
            }
        }
        Err(broken) => {
            let mut problems = broken.problems;
            if let Some(project) = &broken.partial {
                plan::further_problems(project, &mut problems);
            }
            assert!(!problems.is_empty(), "broken, and nobody says why");
            judge(&broken.sources, &problems);
        }
    }
}

/// The beginning of a line that says which file follows.
const FILE: &str = "#% ";

/// Lays the files of a text into a folder that has no others.
fn lay(root: &Path, bytes: &[u8]) {
    drop(fs::remove_dir_all(root));
    fs::create_dir_all(root.join("playbooks")).unwrap();
    let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut name = PathBuf::from("playbooks/p.yaml");
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let named = line
            .strip_prefix(FILE.as_bytes())
            .and_then(|name| std::str::from_utf8(name).ok())
            .map(str::trim_end)
            .filter(|name| plain(name));
        match named {
            Some(named) => name = named.into(),
            None => files.entry(name.clone()).or_default().extend(line),
        }
    }
    for (name, text) in files.into_iter().take(12) {
        let path = root.join(name);
        // Two names may want the same place: a file and a folder.
        if fs::create_dir_all(path.parent().unwrap()).is_ok() {
            drop(fs::write(path, text));
        }
    }
}

/// Whether a name stays where it belongs.
fn plain(name: &str) -> bool {
    name.len() < 60
        && name.split('/').count() < 5
        && name.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
}

/// The files of a folder as one text, as [`project`] reads it.
pub fn pack(root: &Path) -> Vec<u8> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    let mut out = Vec::new();
    for path in files {
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let wanted = ["yaml", "yml", "j2"];
        if !plain(&name) || !wanted.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        out.extend(format!("{FILE}{name}\n").as_bytes());
        out.extend(fs::read(&path).unwrap());
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    out
}

/// Every task has a name of its own, and needs only what comes before it.
fn sound(plan: &Plan) {
    let mut seen = BTreeMap::new();
    for (ix, task) in plan.tasks() {
        assert!(
            seen.insert(task.key.as_str(), ix).is_none(),
            "two tasks are called {}",
            task.key
        );
        assert!(task.needs.iter().all(|need| *need < ix));
        assert_eq!(plan.find(&task.key), Some(ix));
    }
}

/// A journal: as it is, and with every line's checksum made right. What loads is what would be written, can be cut anywhere, folds or is
/// refused, and goes on to its end.
pub fn journal(folder: &Path, bytes: &[u8]) {
    one_journal(folder, bytes);
    one_journal(folder, &sealed(bytes));
}

fn one_journal(folder: &Path, bytes: &[u8]) {
    let path = folder.join("journal.jsonl");
    fs::write(&path, bytes).unwrap();
    let loaded = match Journal::<Event>::load_read_only(&path) {
        Ok(loaded) => loaded,
        Err(error) => {
            let lines = bytes.split(|&byte| byte == b'\n').count() as u64;
            match error {
                Error::Damaged { line, .. } | Error::Unknown { line, .. } => {
                    assert!((1..=lines).contains(&line), "line {line} of {lines}");
                }
                Error::Newer { .. } => {}
                Error::Io { .. } | Error::Serialise { .. } | Error::Poisoned { .. } => {
                    panic!("{error}")
                }
            }
            assert!(Journal::<Event>::open(&path).is_err());
            assert_eq!(
                fs::read(&path).unwrap(),
                bytes,
                "what is refused is left alone"
            );
            return;
        }
    };
    let torn = loaded.torn.as_ref().map_or(0, |torn| torn.bytes);
    let whole = bytes.len() - usize::try_from(torn).unwrap();
    assert_eq!(loaded.records.len(), lines(&bytes[..whole]));

    // Opening it cuts off what is torn and nothing else.
    let (mut opened, again) = Journal::<Event>::open(&path).unwrap();
    assert_eq!(again, loaded);
    assert_eq!(fs::read(&path).unwrap(), bytes[..whole]);
    if let Some(record) = loaded.records.last() {
        opened
            .append(&record.event, record.at, Durability::Later)
            .unwrap();
        drop(opened);
        let more = read_back(&path);
        assert_eq!(more.records.len(), loaded.records.len() + 1);
        assert_eq!(more.torn, None);
    }

    // Written again, it says the same.
    fs::remove_file(&path).unwrap();
    let mut copy = Journal::<Event>::create(&path).unwrap();
    for record in &loaded.records {
        copy.append(&record.event, record.at, Durability::Later)
            .unwrap();
    }
    drop(copy);
    let said = |records: &[Record<Event>]| -> Vec<String> {
        let word =
            |record: &Record<Event>| format!("{} {:.3} {:?}", record.seq, record.at, record.event);
        records.iter().map(word).collect()
    };
    let written = read_back(&path);
    assert_eq!(said(&written.records), said(&loaded.records));

    // Cut anywhere, it is what stands before the cut.
    let cut = bytes.iter().fold(7_usize, |sum, &byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(byte))
    }) % (whole + 1);
    fs::write(&path, &bytes[..cut]).unwrap();
    let part = read_back(&path);
    assert_eq!(part.records, loaded.records[..part.records.len()]);
    assert_eq!(part.records.len(), lines(&bytes[..cut]));

    told(&loaded.records);
    goes_on(&loaded.records);
}

/// How many lines are ended.
fn lines(bytes: &[u8]) -> usize {
    bytes.split(|&byte| byte == b'\n').count() - 1
}

fn read_back(path: &Path) -> Loaded<Event> {
    Journal::load_read_only(path).unwrap()
}

/// The same lines with the right checksums.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sum = 0;
    let mut out = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let tail = line
            .windows(8)
            .rposition(|window| window == b",\"sum\":\"")
            .unwrap_or(line.len() - usize::from(line.ends_with(b"}")));
        let head = &line[..tail];
        let mut hasher = crc32fast::Hasher::new_with_initial(sum);
        hasher.update(head);
        sum = hasher.finalize();
        out.extend(head);
        out.extend(format!(",\"sum\":\"{sum:08x}\"}}\n").as_bytes());
    }
    out
}

/// What people are told of any journal.
fn told(records: &[Record<Event>]) {
    for held in [false, true] {
        if let Some(summary) = history::fold(records, held) {
            let summaries = [summary];
            drop(history::runs_text(&summaries, false));
            drop(history::runs_json(&summaries));
            drop(history::json(&summaries[0]));
        }
    }
}

/// Folds a journal over a plan; what is legal is resumed and comes to its end.
fn goes_on(records: &[Record<Event>]) {
    let plan = house();
    let mut run = Run::new(plan);
    let mut now = Duration::ZERO;
    for record in records {
        if run.apply(plan, &record.event, now).is_err() {
            return;
        }
        now += Duration::from_millis(1);
    }
    let who = Who {
        user: String::new(),
        host: String::new(),
        pid: 0,
    };
    let resumed = Event::RunResumed {
        version: String::new(),
        plan: plan.fingerprint(),
        tasks: Vec::new(),
        made_of: Ingredients::default(),
        who,
    };
    run.apply(plan, &resumed, now).unwrap();
    let limits = Limits {
        jobs: 4,
        mode: Mode::Drain,
    };
    for _ in 0..4 * plan.len() {
        for decision in decide(plan, &run, now, limits) {
            let events = match decision {
                Decision::Start {
                    task,
                    attempt,
                    in_doubt,
                } => {
                    let task = &plan.task(task).key;
                    let end = AttemptEnd::Changed {
                        why: String::new(),
                        outputs: BTreeMap::new(),
                    };
                    vec![
                        Event::AttemptStarted {
                            task: task.clone(),
                            attempt,
                            in_doubt,
                        },
                        Event::AttemptEnded {
                            task: task.clone(),
                            attempt,
                            end,
                            elapsed_ms: 1,
                        },
                    ]
                }
                Decision::Finish => {
                    assert!(run.is_done(), "over, and not done");
                    return;
                }
                Decision::Sleep(_) | Decision::Skip { .. } | Decision::Stop => {
                    panic!("{decision:?} where everything goes well")
                }
            };
            for event in events {
                run.apply(plan, &event, now).unwrap();
            }
        }
    }
    panic!("it never ends");
}

/// The plan that journals of the corpus are about.
fn house() -> &'static Plan {
    static HOUSE: OnceLock<Plan> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let files = [
            (
                "playbooks/home.yaml",
                include_str!("../../tests/fixtures/house/playbooks/home.yaml"),
            ),
            (
                "inventory.yaml",
                include_str!("../../tests/fixtures/house/inventory.yaml"),
            ),
            (
                "templates/login.conf.j2",
                include_str!("../../tests/fixtures/house/templates/login.conf.j2"),
            ),
        ];
        let mut packed = String::new();
        for (name, text) in files {
            writeln!(packed, "{FILE}{name}\n{text}").unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        lay(folder.path(), packed.as_bytes());
        let project = Project::load(folder.path()).unwrap();
        plan::make(&project, &Selection::Everything, Extent::Whole).unwrap()
    })
}

/// A text that is read, and what is wrong with it.
#[derive(Default)]
struct Read {
    sources: Sources,
    problems: Diagnostics,
}

impl Read {
    fn yaml(&mut self, bytes: &[u8]) -> Option<(u32, String, Node)> {
        let text = std::str::from_utf8(bytes).ok()?;
        let file = self.sources.add("t.yaml".into(), text.to_owned());
        let node = document::parse(text, file, &mut self.problems);
        if node.is_none() {
            assert!(!self.problems.is_empty(), "unread, and nobody says why");
        }
        Some((file, text.to_owned(), node?))
    }

    fn judge(&self) {
        judge(&self.sources, &self.problems);
    }
}

/// Every problem points inside a text, and can be shown.
fn judge(sources: &Sources, problems: &Diagnostics) {
    for problem in problems.sorted() {
        assert!(!problem.message.is_empty());
        let places = problem
            .span
            .into_iter()
            .chain(problem.also.iter().map(|(span, _)| *span));
        for span in places {
            let source = sources.source(span).expect("a file that was read");
            assert!(
                source.text.get(span.start..span.end).is_some(),
                "{}..{} of {} bytes: {}",
                span.start,
                span.end,
                source.text.len(),
                problem.message
            );
        }
        if let Some(excerpt) = &problem.excerpt {
            assert!(
                excerpt.text.get(excerpt.range.clone()).is_some(),
                "{:?} of {} bytes: {}",
                excerpt.range,
                excerpt.text.len(),
                problem.message
            );
        }
    }
    let findings = problems.findings(sources);
    assert_eq!(findings.len(), problems.len());
    assert_eq!(
        problems.render(sources, false).is_empty(),
        problems.is_empty()
    );
}

/// Every value of a tree stands inside its text.
fn inside(node: &Node, file: u32, text: &str) {
    let at = |span: Span| {
        assert_eq!(span.file, file);
        assert!(
            text.get(span.start..span.end).is_some(),
            "{}..{} of {} bytes",
            span.start,
            span.end,
            text.len()
        );
    };
    at(node.span);
    match &node.shape {
        Shape::List(values) => values.iter().for_each(|value| inside(value, file, text)),
        Shape::Map(entries) => {
            for (key, value) in entries {
                at(key.span);
                inside(value, file, text);
            }
        }
        Shape::Null | Shape::Bool(_) | Shape::Int(_) | Shape::Float(_) | Shape::Text(_) => {}
    }
}
