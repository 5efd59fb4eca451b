//! A story takes as long as its slowest chain of needs: nothing waits for what it does not need.

use std::collections::BTreeMap;
use std::time::Duration;

use bootstrap::journal::Record;
use bootstrap::plan::{self, Extent, Plan, Selection, TaskIx};
use bootstrap::project::Project;
use bootstrap::run::{AttemptEnd, Event};

use crate::drill::{RUN, Running, judge, plan_of, records};
use crate::lab::Lab;

/// When a task first started and last ended: lines of the journal, and milliseconds.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
    from: i64,
    to: i64,
}

/// The longest chain of needs, and of locks in the order in which they were held, in milliseconds, by what its tasks took.
fn critical_path(plan: &Plan, spans: &BTreeMap<TaskIx, Span>) -> (i64, Vec<TaskIx>) {
    let mut order: Vec<TaskIx> = spans.keys().copied().collect();
    order.sort_by_key(|ix| spans[ix].start);
    let mut longest: BTreeMap<TaskIx, (i64, Option<TaskIx>)> = BTreeMap::new();
    for ix in order {
        let task = plan.task(ix);
        let holders = longest.keys().copied().filter(|other| {
            spans[other].end < spans[&ix].start
                && plan
                    .task(*other)
                    .locks
                    .iter()
                    .any(|lock| task.locks.contains(lock))
        });
        let before = holders
            .chain(task.needs.iter().copied())
            .max_by_key(|need| longest[need].0);
        let sum = before.map_or(0, |need| longest[&need].0);
        let own = spans[&ix].to - spans[&ix].from;
        longest.insert(ix, (sum + own, before));
    }
    let (mut at, (total, _)) = longest.iter().max_by_key(|(_, (sum, _))| *sum).unwrap();
    let mut chain = vec![*at];
    while let (_, Some(need)) = &longest[at] {
        chain.push(*need);
        at = need;
    }
    chain.reverse();
    (*total, chain)
}

#[test]
fn a_task_starts_before_anything_else_happens_once_it_can() {
    let lab = Lab::new();
    Running::start(&lab, RUN, &[]).wait().success();
    judge(&lab).is_well("a whole run");
    let (_, plan) = plan_of(&lab);
    at_once(&plan, &records(&lab));
}

#[test]
fn on_the_way_to_gitops_a_task_starts_before_anything_else_happens_once_it_can() {
    let lab = crate::gitops_lab::room();
    Running::start(&lab, crate::gitops_lab::RUN, &[])
        .wait()
        .success();
    let project = Project::load(&lab.project()).unwrap();
    let plan = plan::make(&project, &Selection::Story("3.3".into()), Extent::Whole)
        .unwrap_or_else(|_| panic!("the shipped playbook has a plan"));
    at_once(&plan, &records(&lab));
}

/// Says whether every task of a run that went well began as soon as it could, and how long the run took.
#[expect(clippy::print_stderr, reason = "the figures are for people")]
fn at_once(plan: &Plan, records: &[Record<Event>]) {
    let mut spans: BTreeMap<TaskIx, Span> = BTreeMap::new();
    let mut ends: Vec<u64> = Vec::new();
    for record in records {
        let at = record.at.as_millisecond();
        match &record.event {
            Event::AttemptStarted { task, .. } => {
                let ix = plan.find(task).unwrap();
                spans.entry(ix).or_insert(Span {
                    start: record.seq,
                    end: record.seq,
                    from: at,
                    to: at,
                });
            }
            Event::AttemptEnded { task, end, .. } => {
                ends.push(record.seq);
                let span = spans.get_mut(&plan.find(task).unwrap()).unwrap();
                (span.end, span.to) = (record.seq, at);
                assert!(!matches!(end, AttemptEnd::Cancelled), "{task}");
            }
            _ => {}
        }
    }
    assert_eq!(spans.len(), plan.len(), "every task has had an attempt");

    // In lines of the journal, so that no clock and no machine decides: between the moment at which a task can start (the last of its
    // needs has ended, nobody holds its locks, fewer than 16 work) and its start, nothing ends.
    let mut late = Vec::new();
    for (ix, task) in plan.tasks() {
        let span = spans[&ix];
        let needed = task.needs.iter().map(|need| spans[need].end).max();
        let locked = plan
            .tasks()
            .filter(|(other, theirs)| {
                *other != ix
                    && theirs.locks.iter().any(|lock| task.locks.contains(lock))
                    && spans[other].start < span.start
            })
            .map(|(other, _)| spans[&other].end)
            .max();
        let ready = needed.max(locked).unwrap_or(1);
        let missed: Vec<u64> = ends
            .iter()
            .copied()
            .filter(|&line| line > ready && line < span.start)
            .collect();
        let crowded = missed.iter().all(|&line| {
            let working = spans
                .values()
                .filter(|other| other.start < line && other.end >= line)
                .count();
            working >= 16
        });
        if !missed.is_empty() && !crowded {
            late.push(format!(
                "{} can start after line {ready} and starts in line {}: lines {missed:?} end something before",
                task.key, span.start
            ));
        }
    }
    assert_eq!(late, [] as [String; 0]);

    let (path, chain) = critical_path(plan, &spans);
    let first = records.first().unwrap().at.as_millisecond();
    let whole = records.last().unwrap().at.as_millisecond() - first;
    let sum: i64 = spans.values().map(|span| span.to - span.from).sum();
    eprintln!(
        "the story took {whole} ms, its longest chain of {} tasks {path} ms ({} %); all tasks together {sum} ms",
        chain.len(),
        whole * 100 / path.max(1)
    );
    let mut before = first;
    for ix in &chain {
        let span = spans[ix];
        eprintln!(
            "  {:>6} ms  +{:>4} ms  {}",
            span.to - span.from,
            span.from - before,
            plan.task(*ix).key
        );
        before = span.to;
    }
    // One after the other they would take far longer, on any machine.
    assert!(
        Duration::from_millis(whole.unsigned_abs()) < Duration::from_millis(sum.unsigned_abs()),
        "{whole} ms against {sum} ms"
    );
}
