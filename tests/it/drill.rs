//! What all drills share: a run that is watched while it works and hurt at a chosen moment, and a judge of how it ended.
//!
//! ```ignore
//! let lab = Lab::new();
//! Running::start(&lab, RUN, &[(CRASH_AFTER_LINE, "120")]).wait();
//! lab.bootstrap(["resume"]).success();
//! judge(&lab).is_well();
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bootstrap::journal::{CRASH_AFTER_LINE, Journal, Record};
use bootstrap::plan::{self, Extent, Plan, Selection};
use bootstrap::playbook::Effect;
use bootstrap::process::{MARK, end_survivors};
use bootstrap::project::Project;
use bootstrap::run::event::RunResult;
use bootstrap::run::{AttemptEnd, Event};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::lab::{Call, Lab, Outcome};
use crate::shrink::Moment;
use crate::wait::eventually;

/// The run that all drills make.
pub(crate) const RUN: [&str; 6] = ["run", "story", "1.3", "--yes", "--output", "plain"];
/// How it goes on, with nothing to remember.
pub(crate) const RESUME: [&str; 1] = ["resume"];
/// Story 1.3 has so many criteria, with those of the stories that it needs.
const CRITERIA: usize = 6 + 5 + 8;

/// `bootstrap` at work, in a process group of its own.
pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    /// How the marks of its processes begin is known when it has a journal; until then, the journals that were there before.
    folder: PathBuf,
}

impl Running {
    /// Starts it.
    pub(crate) fn start<'a>(
        lab: &Lab,
        words: impl IntoIterator<Item = &'a str>,
        environment: &[(&str, &str)],
    ) -> Self {
        let mut number = 0;
        let (out, err) = loop {
            let name = |what: &str| lab.folder().join(format!("std{what}-{number}"));
            if !name("out").exists() {
                break (name("out"), name("err"));
            }
            number += 1;
        };
        let mut command = lab.bootstrap_command(words);
        command
            .envs(environment.iter().copied())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .process_group(0);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            out,
            err,
            folder: lab.folder().to_owned(),
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to it alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills it with its whole group.
    pub(crate) fn kill_group(&self) {
        // Whether it is still there is seen by whoever waits for it.
        kill_process_group(self.pid(), Signal::KILL).ok();
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Outcome {
        let status = eventually("the end of the run", || self.child.try_wait().unwrap());
        Outcome {
            code: status
                .code()
                .or_else(|| status.signal().map(|signal| -signal)),
            stdout: read(&self.out),
            stderr: read(&self.err),
        }
    }

    /// What it has said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        read(&self.err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // When a test fails, nothing of it is to stay.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.kill_group();
            self.child.wait().ok();
        }
        for run in runs(&self.folder.join("project")) {
            if !marked(&run).is_empty() && std::thread::panicking() {
                end_survivors(&format!("{run}/"), &[]);
            }
        }
    }
}

/// The code of an outcome that was ended by SIGKILL.
pub(crate) const KILLED: Option<i32> = Some(-9);

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Lets `bootstrap` work until a moment, and kills it. Calls are counted from `calls` on.
pub(crate) fn act_until(lab: &Lab, words: &[&str], moment: Moment, calls: usize) -> Option<i32> {
    let more = match moment {
        Moment::Line(line) => {
            let crash = line.to_string();
            let environment = [(CRASH_AFTER_LINE, crash.as_str())];
            return Running::start(lab, words.iter().copied(), &environment)
                .wait()
                .code;
        }
        Moment::Call(more) | Moment::Runner(more) | Moment::Guardian(more) => more,
    };
    let mut run = Running::start(lab, words.iter().copied(), &[]);
    eventually("the call", || {
        (calls_begun(lab) >= calls + more || run.is_over()).then_some(())
    });
    match moment {
        Moment::Line(_) | Moment::Call(_) => run.kill_group(),
        // It may be over before so many calls were made.
        _ if run.is_over() => {}
        Moment::Runner(_) => run.signal(Signal::KILL),
        Moment::Guardian(_) => {
            let name = runs(&lab.project()).pop();
            if let Some(guardian) = name.and_then(|name| guardian(&name)) {
                kill_process(guardian, Signal::KILL).ok();
            }
            run.signal(Signal::KILL);
        }
    }
    run.wait().code
}

/// The names of the runs of a project, oldest first.
pub(crate) fn runs(project: &Path) -> Vec<String> {
    let Ok(runs) = fs::read_dir(project.join(".bootstrap/runs")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = runs
        .map(|run| run.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The newest journal, as far as it is written; nothing when there is none yet.
pub(crate) fn records(lab: &Lab) -> Vec<Record<Event>> {
    let journals = lab.journals();
    let Some(newest) = journals.last() else {
        return Vec::new();
    };
    Journal::<Event>::load_read_only(newest)
        .unwrap_or_else(|error| panic!("{}: {error}", newest.display()))
        .records
}

/// How many lines the newest journal has.
pub(crate) fn lines(lab: &Lab) -> usize {
    lab.journals()
        .last()
        .map_or(0, |journal| read(journal).lines().count())
}

/// How many calls of tools have begun.
pub(crate) fn calls_begun(lab: &Lab) -> usize {
    read(&lab.world().join("calls.jsonl"))
        .lines()
        .filter(|line| line.contains("\"tool\""))
        .count()
}

/// The processes that carry the mark of a run: number and command line.
pub(crate) fn marked(run: &str) -> Vec<(u32, String)> {
    let wanted = format!("{MARK}={run}/");
    processes()
        .into_iter()
        .filter(|(_, _, environ)| {
            environ
                .split(|&byte| byte == 0)
                .any(|variable| variable.starts_with(wanted.as_bytes()))
        })
        .map(|(pid, command, _)| {
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            (pid, command)
        })
        .collect()
}

/// All processes that we may look at: number, command line, environment, the last two with NUL between.
pub(crate) fn processes() -> Vec<(u32, Vec<u8>, Vec<u8>)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environ = fs::read(entry.path().join("environ")).ok()?;
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            Some((pid, command, environ))
        })
        .collect()
}

/// The process of the guardian of a run.
pub(crate) fn guardian(run: &str) -> Option<Pid> {
    let words = format!("__guardian\0{run}/\0");
    processes()
        .into_iter()
        .find(|(_, command, _)| command.ends_with(words.as_bytes()))
        .and_then(|(pid, _, _)| Pid::from_raw(i32::try_from(pid).unwrap()))
}

/// The project of a lab and the plan of story 1.3 in it.
pub(crate) fn plan_of(lab: &Lab) -> (Project, Plan) {
    let project = Project::load(&lab.project()).unwrap();
    let plan = plan::make(&project, &Selection::Story("1.3".into()), Extent::Whole)
        .unwrap_or_else(|_| panic!("the shipped playbook has a plan"));
    (project, plan)
}

/// What a drill came to.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// Everything that is not as it should be.
    pub(crate) wrong: Vec<String>,
    /// Accepted bootstraps per cluster.
    pub(crate) bootstraps: Vec<u64>,
    /// Items per cluster.
    pub(crate) items: Vec<usize>,
    /// Places with a secret.
    pub(crate) leaks: usize,
    /// Processes of any run that are still alive.
    pub(crate) survivors: usize,
    /// Settled tasks that were opened again, and why.
    pub(crate) reopened: Vec<(String, String)>,
}

impl Judgement {
    /// Complains about all that is wrong.
    #[track_caller]
    pub(crate) fn is_well(&self, what: &str) {
        assert!(
            self.wrong.is_empty(),
            "{what}\n  {}\nreopened: {:#?}",
            self.wrong.join("\n  "),
            self.reopened
        );
    }
}

/// Judges a world after a run of story 1.3 that nobody but the drill has disturbed.
pub(crate) fn judge(lab: &Lab) -> Judgement {
    let mut judgement = Judgement::default();
    let wrong = &mut judgement.wrong;
    let records = records(lab);
    match records.last().map(|record| &record.event) {
        Some(Event::RunEnded {
            result: RunResult::Done,
        }) => {}
        other => wrong.push(format!("law 5: the journal ends with {other:?}")),
    }
    let met: BTreeSet<&str> = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::AttemptEnded {
                task,
                end: AttemptEnd::Unchanged { why, .. },
                ..
            } if task.as_str().contains("/criterion-") && why.starts_with("met") => {
                task.as_str().split('[').next()
            }
            _ => None,
        })
        .collect();
    if met.len() != CRITERIA {
        wrong.push(format!("law 14: {} of {CRITERIA} criteria", met.len()));
    }
    judgement.reopened = repeated(&records, wrong);

    let (_, plan) = plan_of(lab);
    for (key, why) in &judgement.reopened {
        let acts = plan
            .tasks()
            .find(|(_, task)| task.key.as_str() == key)
            .is_none_or(|(_, task)| !matches!(task.effect, Effect::Reads | Effect::Manual));
        if acts {
            wrong.push(format!("law 5: {key} is open again: {why}"));
        }
    }
    judgement.bootstraps = bootstraps(lab, wrong);
    judgement.items = items(lab, wrong);
    let left: Vec<(u32, String)> = runs(&lab.project())
        .iter()
        .flat_map(|run| marked(run))
        .collect();
    judgement.survivors = left.len();
    if !left.is_empty() {
        wrong.push(format!("law 7: still alive: {left:?}"));
    }
    let leaks = leaks(lab);
    judgement.leaks = leaks.len();
    if !leaks.is_empty() {
        wrong.push(format!("law 8: secrets in {leaks:#?}"));
    }
    judgement
}

/// Complains about work of a task after it was settled, and gives what was opened again.
pub(crate) fn repeated(
    records: &[Record<Event>],
    wrong: &mut Vec<String>,
) -> Vec<(String, String)> {
    let mut settled: BTreeMap<&str, u64> = BTreeMap::new();
    let mut reopened = Vec::new();
    for record in records {
        match &record.event {
            Event::AttemptEnded {
                task,
                end: AttemptEnd::Changed { .. } | AttemptEnd::Unchanged { .. },
                ..
            } => {
                settled.insert(task.as_str(), record.seq);
            }
            Event::TaskReopened { task, why } => {
                if why.is_empty() {
                    wrong.push(format!("law 12: {task} is open again and nobody says why"));
                }
                if settled.remove(task.as_str()).is_some() {
                    reopened.push((task.to_string(), why.clone()));
                }
            }
            Event::AttemptStarted { task, .. } | Event::ProcessStarted { task, .. } => {
                if let Some(line) = settled.get(task.as_str()) {
                    wrong.push(format!(
                        "law 5: {task} was settled in line {line} and works again in line {}",
                        record.seq
                    ));
                }
            }
            _ => {}
        }
    }
    reopened
}

/// Accepted bootstraps of each cluster: one, and only one, wherever.
pub(crate) fn bootstraps(lab: &Lab, wrong: &mut Vec<String>) -> Vec<u64> {
    let world = lab.show();
    let accepted: Vec<&str> = world["bootstraps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["identity"].as_str().unwrap())
        .collect();
    let identities: BTreeSet<&str> = accepted.iter().copied().collect();
    let counts: Vec<u64> = identities
        .iter()
        .map(|identity| accepted.iter().filter(|other| *other == identity).count() as u64)
        .collect();
    if counts != [1, 1] {
        wrong.push(format!("law 4: accepted bootstraps: {counts:?}"));
    }
    if world["split_brain"] != Value::Array(Vec::new()) {
        wrong.push(format!("law 4: split brain: {}", world["split_brain"]));
    }
    let clusters = world["clusters"].as_array().unwrap();
    if clusters.len() != 2 {
        wrong.push(format!("{} clusters", clusters.len()));
    }
    for cluster in clusters {
        let (members, nodes) = (&cluster["members"], &cluster["kubernetes_nodes"]);
        let of = |list: &Value| list.as_array().map_or(0, Vec::len);
        if cluster["alive"] != true || of(members) != 3 || of(nodes) != 3 {
            wrong.push(format!("not a whole cluster: {cluster}"));
        }
    }
    counts
}

/// Items of each cluster: one, in its first version.
pub(crate) fn items(lab: &Lab, wrong: &mut Vec<String>) -> Vec<usize> {
    let world = lab.show();
    let items: Vec<&Value> = world["vaults"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|vault| vault["items"].as_array().unwrap())
        .collect();
    let counts: Vec<usize> = ["infra-talos", "apps-talos"]
        .iter()
        .map(|title| items.iter().filter(|item| item["title"] == *title).count())
        .collect();
    if counts != [1, 1] {
        wrong.push(format!("law 4: items: {counts:?}"));
    }
    for item in items {
        if item["version"] != 1 || item["archived"] != false {
            wrong.push(format!("law 4: an item was replaced: {item}"));
        }
    }
    counts
}

/// The calls that change something: of machines, of clusters, of the vault.
pub(crate) fn effects(lab: &Lab) -> Vec<Call> {
    let acts = ["apply-config", "bootstrap", "reset", "reboot", "upgrade"];
    lab.calls("")
        .into_iter()
        .filter(|call| {
            let first = call.argv.first().map(String::as_str).unwrap_or_default();
            (call.tool == "talosctl" && acts.contains(&first))
                || call.line().starts_with("op item create")
                || call.line().starts_with("op item edit")
        })
        .collect()
}

/// Every form in which a secret could be read: itself, base64 with each of the three alignments, hexadecimal, and each line of the PEM
/// text that it encodes.
pub(crate) fn forms(secret: &str) -> Vec<String> {
    use std::fmt::Write as _;
    let mut forms = vec![secret.to_owned()];
    for before in 0..3_usize {
        let mut bytes = vec![b'x'; before];
        bytes.extend(secret.as_bytes());
        let text = STANDARD.encode(&bytes);
        // The first and the last characters depend on what stands beside the secret.
        let from = [0, 2, 3][before];
        let to = (bytes.len() / 3) * 4;
        if to > from + 10 {
            forms.push(text[from..to].to_owned());
        }
    }
    for upper in [false, true] {
        let mut hex = String::new();
        for byte in secret.bytes() {
            if upper {
                write!(hex, "{byte:02X}").unwrap();
            } else {
                write!(hex, "{byte:02x}").unwrap();
            }
        }
        forms.push(hex);
    }
    if let Ok(decoded) = STANDARD.decode(secret)
        && let Ok(text) = String::from_utf8(decoded)
        && text.contains("-----BEGIN")
    {
        forms.extend(
            text.lines()
                .filter(|line| line.len() >= 24 && !line.starts_with("-----"))
                .map(str::to_owned),
        );
    }
    forms
}

/// Where below a lab's folder a secret can be read: all that the program writes or says, and what its tools were called with. The two
/// files that the tools need are not looked at, and neither is the world itself.
pub(crate) fn leaks(lab: &Lab) -> Vec<String> {
    let secrets: Vec<String> = lab
        .secrets()
        .iter()
        .flat_map(|secret| forms(secret))
        .collect();
    let finder = aho_corasick::AhoCorasick::new(&secrets).unwrap();
    let mut places = Vec::new();
    let mut see = |path: &Path| {
        if path.ends_with("talos/talosconfig") || path.ends_with("kubernetes/kubeconfig") {
            return;
        }
        if let Some(found) = finder.find(&fs::read(path).unwrap_or_default()) {
            places.push(format!("{} at byte {}", path.display(), found.start()));
        }
    };
    for name in ["project", "home", "state", "tmp"] {
        files(&lab.folder().join(name), &mut see);
    }
    for entry in fs::read_dir(lab.folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            see(&path);
        }
    }
    see(&lab.world().join("calls.jsonl"));
    places
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path, see: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, see);
        } else if path.is_file() {
            see(&path);
        }
    }
}

/// Numbers that look like chance, and are the same for a seed.
pub(crate) struct Chance(u64);

impl Chance {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number between two, both included.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        low + usize::try_from(z % (high - low + 1) as u64).unwrap()
    }
}
