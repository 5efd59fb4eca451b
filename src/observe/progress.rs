//! The moving display of a terminal: what works now, and above it what has ended.
//!
//! It draws when it is told to and has no thread of its own. No line is ever wider than the terminal. While a person is asked something
//! ([`Terminal::suspend`]) nothing is drawn, and nothing waits: what ends meanwhile is said afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::Observer;
use crate::observe::view::{Counts, noted, said, stopping};
use crate::observe::words::{Tone, count, cut, duration, paint, width};
use crate::plan::{Plan, TaskIx};
use crate::run::event::Note;
use crate::run::{Elapsed, Event, Run, TaskState};

/// What a terminal is taken to be when it does not say.
const SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// How large a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// The terminal, shared by all who write to it while a run moves.
#[derive(Clone)]
pub struct Terminal {
    screen: Arc<Mutex<Screen>>,
    /// One question at a time.
    asking: Arc<Mutex<()>>,
}

struct Screen {
    multi: MultiProgress,
    bar: Option<ProgressBar>,
    size: Box<dyn Fn() -> Size + Send>,
    /// Whether it takes anything now: one that was stopped (Ctrl-S) does not, and must not stop the run.
    ready: fn() -> bool,
    suspended: usize,
    /// Lines that could not be shown yet.
    held: Vec<String>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Terminal").finish_non_exhaustive()
    }
}

impl Terminal {
    /// The terminal at stderr.
    pub fn stderr() -> Self {
        Self::new(
            ProgressDrawTarget::stderr(),
            Box::new(|| {
                rustix::termios::tcgetwinsize(rustix::stdio::stderr())
                    .ok()
                    .filter(|found| found.ws_col > 0 && found.ws_row > 0)
                    .map_or(SIZE, |found| Size {
                        columns: found.ws_col.into(),
                        rows: found.ws_row.into(),
                    })
            }),
            || {
                let stderr = rustix::stdio::stderr();
                let mut files = [PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
                // Where that cannot be told it is written to, as ever.
                poll(&mut files, Some(&Timespec::default())) != Ok(0)
            },
        )
    }

    /// A terminal of which nothing is seen: for output that is no terminal, where questions are asked all the same.
    pub fn hidden() -> Self {
        Self::new(ProgressDrawTarget::hidden(), Box::new(|| SIZE), || true)
    }

    fn new(
        target: ProgressDrawTarget,
        size: Box<dyn Fn() -> Size + Send>,
        ready: fn() -> bool,
    ) -> Self {
        let screen = Screen {
            multi: MultiProgress::with_draw_target(target),
            bar: None,
            size,
            ready,
            suspended: 0,
            held: Vec::new(),
        };
        Self {
            screen: Arc::new(Mutex::new(screen)),
            asking: Arc::new(Mutex::new(())),
        }
    }

    /// Takes the moving lines away, lets `ask` have the terminal, and shows them again. One at a time: others wait for their turn. The
    /// display itself does not wait; it must not, because it is called by the engine.
    pub fn suspend<R>(&self, ask: impl FnOnce() -> R) -> R {
        let _turn = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut screen = self.lock();
            screen.suspended += 1;
            // An output that is gone is not our concern.
            screen.multi.clear().ok();
        }
        let _again = Again(self);
        ask()
    }

    /// Writes a line above the moving ones; cut if it is too wide.
    pub fn say(&self, line: &str) {
        self.lock().say(line.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Screen> {
        // A panic while drawing leaves nothing worse than a wrong picture.
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a suspension, also when the question panics.
struct Again<'a>(&'a Terminal);

impl Drop for Again<'_> {
    fn drop(&mut self) {
        let mut screen = self.0.lock();
        screen.suspended -= 1;
        if screen.suspended == 0 {
            screen.say_held();
        }
    }
}

impl Screen {
    fn say(&mut self, line: String) {
        self.held.push(line);
        self.say_held();
    }

    fn say_held(&mut self) {
        if self.suspended > 0 || self.held.is_empty() || !(self.ready)() {
            return;
        }
        for line in std::mem::take(&mut self.held) {
            self.multi.println(line).ok();
        }
    }

    fn draw(&mut self, lines: &[String]) {
        self.say_held();
        if self.suspended > 0 || !(self.ready)() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}")
                .expect("the template has nothing but a message");
            let bar = ProgressBar::new_spinner().with_style(style);
            self.multi.add(bar)
        });
        bar.set_message(lines.join("\n"));
    }

    fn clear(&mut self) {
        self.say_held();
        if !(self.ready)() {
            self.multi.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
    }
}

/// Shows a run on a terminal.
pub struct Progress {
    terminal: Terminal,
    colour: bool,
    notes: BTreeMap<TaskIx, String>,
    paused: BTreeMap<TaskIx, String>,
    turn: usize,
    interrupts: u32,
    over: bool,
}

const SPINNER: [&str; 4] = ["-", "\\", "|", "/"];

impl Progress {
    /// A display on this terminal.
    pub fn new(terminal: Terminal, colour: bool) -> Self {
        Self {
            terminal,
            colour,
            notes: BTreeMap::new(),
            paused: BTreeMap::new(),
            turn: 0,
            interrupts: 0,
            over: false,
        }
    }

    fn draw(&self, plan: &Plan, run: &Run, at: Elapsed) {
        if self.over {
            return;
        }
        let mut screen = self.terminal.lock();
        let size = (screen.size)();
        let lines = self.lines(plan, run, at, size);
        screen.draw(&lines);
    }

    /// The moving lines: one a task that works, and one for all.
    fn lines(&self, plan: &Plan, run: &Run, at: Elapsed, size: Size) -> Vec<String> {
        // The last column stays free: some terminals wrap when it is written to.
        let columns = size.columns.saturating_sub(1);
        // Room for the line for all, the one that counts what is not shown, and one finished task.
        let most = size.rows.saturating_sub(3).max(1);
        let mut lines: Vec<String> = run
            .running()
            .iter()
            .take(most)
            .map(|&ix| self.task_line(plan, run, ix, at, columns))
            .collect();
        if run.running().len() > most {
            let more = format!("  … and {} more", run.running().len() - most);
            lines.push(cut(&more, columns).into_owned());
        }
        lines.push(cut(&overall(plan, run, at), columns).into_owned());
        lines
    }

    fn task_line(&self, plan: &Plan, run: &Run, ix: TaskIx, at: Elapsed, columns: usize) -> String {
        let task = plan.task(ix);
        let since = match run.state(ix) {
            TaskState::Running { since, .. } => *since,
            TaskState::Pending
            | TaskState::InDoubt { .. }
            | TaskState::Backoff { .. }
            | TaskState::Settled(_) => at,
        };
        let (tone, sign) = if self.paused.contains_key(&ix) {
            (Tone::Warn, "?")
        } else {
            (
                Tone::Busy,
                SPINNER[(self.turn + ix.index()) % SPINNER.len()],
            )
        };
        let head = format!(
            "{sign} {}  {}",
            task.key,
            duration(at.saturating_sub(since))
        );
        let note = self
            .paused
            .get(&ix)
            .or_else(|| self.notes.get(&ix))
            .map_or("", String::as_str);
        let title = crate::observe::words::clean(&task.title);
        let line = if note.is_empty() {
            format!("{head}  {title}")
        } else if width(&head) + width(&title) + width(note) + 4 <= columns {
            format!("{head}  {title}  {note}")
        } else {
            // What is going on tells more than a title that was read before.
            format!("{head}  {note}")
        };
        let line = cut(&line, columns);
        match line.strip_prefix(sign) {
            Some(rest) => format!("{}{rest}", paint(tone, sign, self.colour)),
            None => line.into_owned(),
        }
    }

    fn say(&self, line: &str, paint: impl FnOnce(&str) -> String) {
        let mut screen = self.terminal.lock();
        let columns = (screen.size)().columns.saturating_sub(1);
        let line = paint(&cut(line, columns));
        screen.say(line);
    }

    fn keep(&mut self, run: &Run, event: &Event) {
        match event {
            Event::AttemptStarted { task, .. } | Event::AttemptEnded { task, .. } => {
                if let Some(ix) = run.find(task) {
                    self.notes.remove(&ix);
                    self.paused.remove(&ix);
                }
            }
            Event::Paused { task, say } => {
                let say = crate::observe::words::clean(say);
                self.paused.extend(run.find(task).map(|ix| (ix, say)));
            }
            Event::Continued { task, .. } => {
                if let Some(ix) = run.find(task) {
                    self.paused.remove(&ix);
                }
            }
            Event::RunEnded { .. } => self.end(),
            Event::RunStarted { .. }
            | Event::RunResumed { .. }
            | Event::SurvivorEnded { .. }
            | Event::ProcessStarted { .. }
            | Event::TaskSkipped { .. }
            | Event::TaskReopened { .. }
            | Event::Assumed { .. }
            | Event::Accepted { .. }
            | Event::FileWritten { .. }
            | Event::Confirmed { .. }
            | Event::Interrupted { .. } => {}
        }
    }

    fn end(&mut self) {
        if !self.over {
            self.over = true;
            self.terminal.lock().clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // The engine may stop without an end of the run: the terminal is left clean all the same.
        self.end();
    }
}

fn overall(plan: &Plan, run: &Run, at: Elapsed) -> String {
    let counts = Counts::of(plan, run);
    let mut parts = vec![format!(
        "{} of {} done",
        counts.done,
        count(counts.total, "task")
    )];
    for (number, word) in [
        (counts.running, "running"),
        (counts.retry, "to be tried again"),
        (counts.failed, "failed"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    if run.cancelled() {
        parts.push("stopping".into());
    }
    format!("{}: {}  {}", plan.goal, parts.join(", "), duration(at))
}

impl Observer for Progress {
    fn event(&mut self, plan: &Plan, run: &Run, event: &Event, at: Elapsed) {
        self.keep(run, event);
        match event {
            Event::Interrupted { signal } => {
                self.interrupts += 1;
                let line = stopping(plan, run, signal, self.interrupts);
                self.say(&line, |line| paint(Tone::Warn, line, self.colour));
            }
            // The moving lines show that it has started; the summary shows the end.
            Event::AttemptStarted {
                in_doubt: false, ..
            }
            | Event::RunEnded { .. } => {}
            Event::AttemptStarted { in_doubt: true, .. }
            | Event::RunStarted { .. }
            | Event::RunResumed { .. }
            | Event::SurvivorEnded { .. }
            | Event::ProcessStarted { .. }
            | Event::AttemptEnded { .. }
            | Event::TaskSkipped { .. }
            | Event::TaskReopened { .. }
            | Event::Assumed { .. }
            | Event::Accepted { .. }
            | Event::FileWritten { .. }
            | Event::Confirmed { .. }
            | Event::Paused { .. }
            | Event::Continued { .. } => {
                if let Some(said) = said(plan, run, event, at) {
                    self.say(&said.line(), |line| said.painted(line, self.colour));
                }
            }
        }
        self.draw(plan, run, at);
    }

    fn note(&mut self, _plan: &Plan, _run: &Run, task: TaskIx, note: &Note, _at: Elapsed) {
        // Drawn with the next tick: a process may print faster than anybody reads.
        self.notes.insert(task, noted(note));
    }

    fn tick(&mut self, plan: &Plan, run: &Run, at: Elapsed) {
        self.turn += 1;
        self.draw(plan, run, at);
    }
}

#[cfg(test)]
mod tests;
