use std::io;
use std::slice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::ProgressDrawTarget;

use super::{Progress, Size, Terminal};
use crate::engine::Observer as _;
use crate::observe::tests::{begun, changed, plan, play, start};
use crate::observe::words::{clean, width};
use crate::run::event::Note;
use crate::run::{Elapsed, Run};

/// A terminal that keeps what is written to it.
#[derive(Debug, Clone)]
struct Paper {
    written: Arc<Mutex<Vec<String>>>,
    columns: u16,
}

impl indicatif::TermLike for Paper {
    fn width(&self) -> u16 {
        self.columns
    }
    fn height(&self) -> u16 {
        10
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.written.lock().unwrap().push(text.to_owned());
        Ok(())
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.written.lock().unwrap().push(text.to_owned());
        Ok(())
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn new(columns: u16) -> Self {
        Self {
            written: Arc::default(),
            columns,
        }
    }

    fn terminal(&self) -> Terminal {
        let columns = usize::from(self.columns);
        Terminal::new(
            ProgressDrawTarget::term_like(Box::new(self.clone())),
            Box::new(move || Size { columns, rows: 10 }),
            || true,
        )
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.written.lock().unwrap())
    }
}

fn at(seconds: u64) -> Elapsed {
    Duration::from_secs(seconds)
}

const LOOK: &str = "1.1/look";

#[test]
fn a_line_for_each_task_and_one_for_all() {
    let plan = plan();
    let mut run = Run::new(&plan);
    let mut progress = Progress::new(Terminal::hidden(), false);
    play(
        &plan,
        &mut run,
        &mut progress,
        &[(0, begun(&plan)), (0, start(LOOK, 1))],
    );
    let wide = Size {
        columns: 80,
        rows: 24,
    };
    assert_eq!(
        progress.lines(&plan, &run, at(3), wide),
        [
            "- 1.1/look  3.0s  Look around",
            "story 1.3: 0 of 4 tasks done, 1 running  3.0s",
        ]
    );
    let ix = plan.find(&LOOK.into()).unwrap();
    let note = Note::Line("\u{1b}[1mhello\u{1b}[0m 漢字漢字漢字".into());
    progress.note(&plan, &run, ix, &note, at(4));
    assert_eq!(
        progress.lines(&plan, &run, at(4), wide)[0],
        "- 1.1/look  4.0s  Look around  hello 漢字漢字漢字"
    );
    let narrow = Size {
        columns: 30,
        rows: 24,
    };
    assert_eq!(
        progress.lines(&plan, &run, at(4), narrow),
        [
            "- 1.1/look  4.0s  hello 漢字…",
            "story 1.3: 0 of 4 tasks done…",
        ]
    );
}

#[test]
fn nothing_is_ever_wider_than_the_terminal() {
    let plan = plan();
    for columns in [1, 2, 10, 33, 200] {
        let paper = Paper::new(columns);
        let mut run = Run::new(&plan);
        let mut progress = Progress::new(paper.terminal(), true);
        let events = [
            (0, begun(&plan)),
            (0, start(LOOK, 1)),
            (10, changed(LOOK, &"漢字 ".repeat(100))),
        ];
        for event in &events {
            play(&plan, &mut run, &mut progress, slice::from_ref(event));
            progress.tick(&plan, &run, at(1));
        }
        for line in paper.take() {
            let plain = clean(&line);
            assert!(width(&plain) <= usize::from(columns), "{columns}: {line:?}");
        }
    }
}

#[test]
fn nothing_is_drawn_while_a_person_is_asked_and_nothing_is_lost() {
    let plan = plan();
    let paper = Paper::new(80);
    let terminal = paper.terminal();
    let mut run = Run::new(&plan);
    let mut progress = Progress::new(terminal.clone(), false);
    play(
        &plan,
        &mut run,
        &mut progress,
        &[(0, begun(&plan)), (0, start(LOOK, 1))],
    );
    terminal.suspend(|| {
        paper.take();
        play(
            &plan,
            &mut run,
            &mut progress,
            &[(3_200, changed(LOOK, "seen"))],
        );
        progress.tick(&plan, &run, at(4));
        assert_eq!(paper.take(), Vec::<String>::new());
    });
    let said = paper.take().concat();
    assert!(said.contains("changed    1.1/look  3.2s  seen"), "{said}");
}

#[test]
fn a_question_that_panics_gives_the_terminal_back() {
    let paper = Paper::new(80);
    let terminal = paper.terminal();
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        terminal.suspend(|| panic!("no answer"));
    }));
    assert!(asked.is_err());
    terminal.say("still here");
    assert!(paper.take().concat().contains("still here"));
    assert_eq!(terminal.suspend(|| 7), 7);
}

#[test]
fn many_tasks_leave_room_for_the_line_for_all() {
    let plan = plan();
    let mut run = Run::new(&plan);
    let mut progress = Progress::new(Terminal::hidden(), false);
    let keys: Vec<String> = plan.tasks().map(|(_, task)| task.key.to_string()).collect();
    let mut events = vec![(0, begun(&plan))];
    events.extend(keys.iter().map(|key| (0, start(key, 1))));
    play(&plan, &mut run, &mut progress, &events);
    let small = Size {
        columns: 80,
        rows: 5,
    };
    let lines = progress.lines(&plan, &run, at(1), small);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[2], "  … and 2 more");
}
