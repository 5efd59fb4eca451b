//! Schedules of the long drill as text, and how one that failed becomes small: fewer moments, fewer faults, earlier moments, as long as it
//! still fails.
//!
//! ```text
//! 17 faults line:120 runner:44        the world of seed 17, its random faults, two kills
//! 17 fault:hang line:1                one fault by name, one kill
//! ```

use std::fmt;
use std::str::FromStr;

/// When a run is killed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The group, right after this line of the journal.
    Line(usize),
    /// The group, when so many calls have begun.
    Call(usize),
    /// The runner alone, when so many calls have begun.
    Runner(usize),
    /// The runner and its guardian, when so many calls have begun: what they started goes on.
    Guardian(usize),
}

impl Moment {
    fn place(self) -> usize {
        match self {
            Self::Line(place) | Self::Call(place) | Self::Runner(place) | Self::Guardian(place) => {
                place
            }
        }
    }

    /// The same at another place.
    fn at(self, place: usize) -> Self {
        match self {
            Self::Line(_) => Self::Line(place),
            Self::Call(_) => Self::Call(place),
            Self::Runner(_) => Self::Runner(place),
            Self::Guardian(_) => Self::Guardian(place),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Line(_) => "line",
            Self::Call(_) => "call",
            Self::Runner(_) => "runner",
            Self::Guardian(_) => "guardian",
        };
        write!(formatter, "{word}:{}", self.place())
    }
}

/// What goes wrong in the world besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Faults {
    /// Those that the seed chooses.
    Random,
    /// These, by the lab's words for them; perhaps none.
    These(Vec<String>),
}

/// A drill: its world, and when what is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    /// One for the run, then one for each resume that is killed.
    pub(crate) moments: Vec<Moment>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.seed)?;
        match &self.faults {
            Faults::Random => write!(formatter, " faults")?,
            Faults::These(faults) => {
                for fault in faults {
                    write!(formatter, " fault:{fault}")?;
                }
            }
        }
        for moment in &self.moments {
            write!(formatter, " {moment}")?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let seed = words.next().unwrap_or_default();
        let seed = seed
            .parse()
            .map_err(|_| format!("`{seed}` is not a seed: write `17 faults line:120`"))?;
        let mut random = false;
        let mut faults = Vec::new();
        let mut moments = Vec::new();
        for word in words {
            let place = |make: fn(usize) -> Moment, place: &str| {
                place
                    .parse()
                    .map(make)
                    .map_err(|_| format!("`{place}` in `{word}` is not a number"))
            };
            match word.split_once(':') {
                None if word == "faults" => random = true,
                Some(("fault", fault)) => faults.push(fault.to_owned()),
                Some(("line", at)) => moments.push(place(Moment::Line, at)?),
                Some(("call", at)) => moments.push(place(Moment::Call, at)?),
                Some(("runner", at)) => moments.push(place(Moment::Runner, at)?),
                Some(("guardian", at)) => moments.push(place(Moment::Guardian, at)?),
                _ => {
                    return Err(format!(
                        "`{word}` is neither `faults`, `fault:SPEC`, nor one of `line:N`, `call:N`, `runner:N`, `guardian:N`"
                    ));
                }
            }
        }
        if random && !faults.is_empty() {
            return Err("`faults` are random, `fault:SPEC` are not: write one of them".to_owned());
        }
        let faults = if random {
            Faults::Random
        } else {
            Faults::These(faults)
        };
        Ok(Self {
            seed,
            faults,
            moments,
        })
    }
}

/// The smallest schedule that still fails, with at most so many tries. `drawn` are the faults that chance had drawn for the seed.
pub(crate) fn shrink(
    schedule: &Schedule,
    drawn: &[String],
    tries: usize,
    mut fails: impl FnMut(&Schedule) -> bool,
) -> Schedule {
    let mut smallest = schedule.clone();
    let mut left = tries;
    let mut try_it = |smallest: &mut Schedule, candidate: Schedule| {
        if left == 0 || candidate == *smallest {
            return false;
        }
        left -= 1;
        let smaller = fails(&candidate);
        if smaller {
            *smallest = candidate;
        }
        smaller
    };
    without_faults(&mut smallest, drawn, &mut try_it);
    without_moments(&mut smallest, &mut try_it);
    earlier(&mut smallest, &mut try_it);
    smallest
}

/// Takes a candidate for the smallest if it fails.
type Try<'t> = dyn FnMut(&mut Schedule, Schedule) -> bool + 't;

/// No faults, else a single one, else as few as possible.
fn without_faults(smallest: &mut Schedule, drawn: &[String], try_it: &mut Try<'_>) {
    let with = |smallest: &Schedule, faults: Vec<String>| Schedule {
        faults: Faults::These(faults),
        ..smallest.clone()
    };
    let mut faults = match &smallest.faults {
        Faults::Random => drawn.to_vec(),
        Faults::These(faults) => faults.clone(),
    };
    if try_it(smallest, with(smallest, Vec::new())) {
        return;
    }
    if faults.len() > 1 {
        for fault in &faults {
            if try_it(smallest, with(smallest, vec![fault.clone()])) {
                return;
            }
        }
        // By name, so that one can be left out.
        if smallest.faults == Faults::Random && !try_it(smallest, with(smallest, faults.clone())) {
            return;
        }
        let mut at = 0;
        while at < faults.len() && faults.len() > 1 {
            let mut fewer = faults.clone();
            fewer.remove(at);
            if try_it(smallest, with(smallest, fewer.clone())) {
                faults = fewer;
            } else {
                at += 1;
            }
        }
    } else if !faults.is_empty() {
        try_it(smallest, with(smallest, faults));
    }
}

/// Kills only once, if that is enough; else as seldom as possible.
fn without_moments(smallest: &mut Schedule, try_it: &mut Try<'_>) {
    if smallest.moments.len() > 1 {
        for moment in smallest.moments.clone() {
            let one = Schedule {
                moments: vec![moment],
                ..smallest.clone()
            };
            if try_it(smallest, one) {
                break;
            }
        }
    }
    let mut at = 0;
    while at < smallest.moments.len() {
        let mut fewer = smallest.clone();
        fewer.moments.remove(at);
        if !try_it(smallest, fewer) {
            at += 1;
        }
    }
}

/// Each moment as early as it still fails, found by halving. Where it fails only at some places in between, the place found is one of
/// those that fail, not always the first.
fn earlier(smallest: &mut Schedule, try_it: &mut Try<'_>) {
    for at in 0..smallest.moments.len() {
        let (mut low, mut high) = (1, smallest.moments[at].place());
        while low < high {
            let middle = low.midpoint(high);
            let mut candidate = smallest.clone();
            candidate.moments[at] = candidate.moments[at].at(middle);
            if try_it(smallest, candidate) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }
}

/// The command that runs a schedule again.
pub(crate) fn again(schedule: &Schedule) -> String {
    format!(
        "BOOTSTRAP_DRILL_SEED={} make drill DRILL='{schedule}'",
        schedule.seed
    )
}

fn schedule(text: &str) -> Schedule {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_schedule_is_read_as_it_is_written() {
    for text in [
        "0",
        "17 faults line:120 call:44 runner:9 guardian:3",
        "18446744073709551615 fault:late:10.25.11.12 fault:hang line:1",
    ] {
        assert_eq!(schedule(text).to_string(), text);
    }
    let wrong = |text: &str| text.parse::<Schedule>().unwrap_err();
    assert_eq!(
        wrong("lines"),
        "`lines` is not a seed: write `17 faults line:120`"
    );
    assert_eq!(wrong("1 line:x"), "`x` in `line:x` is not a number");
    assert!(wrong("1 night:3").starts_with("`night:3` is neither"));
    assert!(wrong("1 faults fault:hang").starts_with("`faults` are random"));
    assert_eq!(
        again(&schedule("3 fault:hang line:7")),
        "BOOTSTRAP_DRILL_SEED=3 make drill DRILL='3 fault:hang line:7'"
    );
}

/// Shrinks with an oracle that counts, and gives what is left and how often it was asked.
fn shrunk(
    text: &str,
    drawn: &[&str],
    tries: usize,
    fails: impl Fn(&Schedule) -> bool,
) -> (String, usize) {
    let first = schedule(text);
    assert!(fails(&first), "what does not fail is not shrunk");
    let drawn: Vec<String> = drawn.iter().map(ToString::to_string).collect();
    let mut asked = 0;
    let smallest = shrink(&first, &drawn, tries, |candidate| {
        asked += 1;
        fails(candidate)
    });
    assert!(fails(&smallest), "{smallest} does not fail");
    assert!(asked <= tries, "asked {asked} times");
    (smallest.to_string(), asked)
}

fn has(schedule: &Schedule, wanted: &str) -> bool {
    match &schedule.faults {
        Faults::Random => true,
        Faults::These(faults) => faults.iter().any(|fault| fault == wanted),
    }
}

#[test]
fn a_schedule_that_fails_for_one_kill_keeps_that_kill_alone_and_makes_it_as_early_as_it_fails() {
    let late = |schedule: &Schedule| {
        schedule
            .moments
            .iter()
            .any(|moment| matches!(moment, Moment::Runner(place) if *place >= 100))
    };
    let (smallest, asked) = shrunk(
        "9 faults line:20 runner:371 call:33",
        &["hang", "late:10.0.0.1"],
        100,
        late,
    );
    assert_eq!(smallest, "9 runner:100");
    assert!(asked < 20, "{asked}");
}

#[test]
fn a_schedule_that_fails_for_a_fault_keeps_that_fault_alone() {
    let (smallest, _) = shrunk(
        "9 faults line:20 call:33",
        &["hang", "late:10.0.0.1", "eof"],
        100,
        |schedule| has(schedule, "late:10.0.0.1"),
    );
    assert_eq!(smallest, "9 fault:late:10.0.0.1");
}

#[test]
fn a_schedule_that_needs_two_faults_and_two_kills_keeps_two_of_each() {
    let both = |schedule: &Schedule| {
        has(schedule, "hang")
            && has(schedule, "eof")
            && schedule.moments.len() >= 2
            && schedule.moments.iter().all(|moment| moment.place() >= 5)
    };
    let (smallest, _) = shrunk(
        "9 faults line:20 call:33 guardian:7",
        &["hang", "late", "eof"],
        100,
        both,
    );
    assert_eq!(smallest, "9 fault:hang fault:eof call:5 guardian:5");
}

#[test]
fn faults_that_fail_only_as_the_seed_draws_them_stay_random() {
    let (smallest, _) = shrunk("9 faults line:64", &["a", "b"], 100, |schedule| {
        schedule.faults == Faults::Random
    });
    assert_eq!(smallest, "9 faults");
}

#[test]
fn shrinking_ends_after_so_many_tries_with_something_that_fails() {
    for tries in 0..12 {
        let (_, asked) = shrunk(
            "9 faults line:300 call:380 runner:380",
            &["a", "b", "c"],
            tries,
            |schedule| schedule.moments.iter().any(|m| m.place() > 250),
        );
        assert!(asked <= tries);
    }
}
