//! What processes said, in the sentences about how attempts end.
//!
//! A line that a process printed may turn out to be secret later, and a journal is never rewritten. So a journal has the sentence with
//! [`OMITTED`] in the place of each line; the whole of it stands at the end of the attempt's log ([`spoken`]), which is masked again when
//! the mask has learned something. Whoever shows a journal takes it from there ([`recall`]); without the log the sentence still stands.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::run::{AttemptEnd, Failure};

/// What stands in a journal where a process is cited.
pub const OMITTED: &str = "\u{2026}";

/// The shortest line that is left out, in bytes. Shorter ones are ordinary words, and the mask does not hide them either.
const SHORTEST: usize = 6;

/// How the lines in a log begin that [`spoken`] writes: the sentence, the last lines, the hint.
const SENTENCE: &str = "! ";
const LINE: &str = "! | ";
const HINT: &str = "! hint: ";

/// Returns a text without these lines.
pub fn omit(text: &str, cited: &BTreeSet<String>) -> String {
    let mut lines: Vec<&str> = cited.iter().map(String::as_str).collect();
    // A line may be a part of another one.
    lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
    lines
        .into_iter()
        .filter(|line| line.len() >= SHORTEST)
        .fold(text.to_owned(), |text, line| text.replace(line, OMITTED))
}

/// Returns the end of an attempt as a journal may have it.
pub fn kept(end: &AttemptEnd, cited: &BTreeSet<String>) -> AttemptEnd {
    let mut end = end.clone();
    match &mut end {
        AttemptEnd::Changed { why, .. } | AttemptEnd::Unchanged { why, .. } => {
            *why = omit(why, cited);
        }
        AttemptEnd::Failed { failure, .. } => {
            failure.message = omit(&failure.message, cited);
            failure.hint = failure.hint.as_deref().map(|hint| omit(hint, cited));
            failure.last_lines.clear();
        }
        AttemptEnd::Skipped { .. } | AttemptEnd::Cancelled => {}
    }
    end
}

/// Returns what a log says of the end of its attempt: nothing where the journal has it all and nothing failed.
pub fn spoken(end: &AttemptEnd, cited: &BTreeSet<String>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    match end {
        AttemptEnd::Changed { why, .. } | AttemptEnd::Unchanged { why, .. } => {
            if omit(why, cited) != *why {
                writeln!(text, "{SENTENCE}{why}").ok();
            }
        }
        AttemptEnd::Failed { failure, .. } => {
            writeln!(text, "{SENTENCE}{}", failure.line()).ok();
            for line in &failure.last_lines {
                writeln!(text, "{LINE}{line}").ok();
            }
            if let Some(hint) = &failure.hint
                && omit(hint, cited) != *hint
            {
                writeln!(text, "{HINT}{hint}").ok();
            }
        }
        AttemptEnd::Skipped { .. } | AttemptEnd::Cancelled => {}
    }
    text
}

/// Whether something is left out in the end of an attempt that its log may have.
pub fn omits(end: &AttemptEnd) -> bool {
    match end {
        AttemptEnd::Changed { why, .. } | AttemptEnd::Unchanged { why, .. } => {
            why.contains(OMITTED)
        }
        AttemptEnd::Failed { failure, .. } => failure.last_lines.is_empty(),
        AttemptEnd::Skipped { .. } | AttemptEnd::Cancelled => false,
    }
}

/// Puts back what the end of a log has.
pub fn recall(end: &mut AttemptEnd, log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let sentence = lines.iter().rposition(|line| {
        line.starts_with(SENTENCE) && !line.starts_with(LINE) && !line.starts_with(HINT)
    });
    let Some(at) = sentence else { return };
    let said = &lines[at][SENTENCE.len()..];
    match end {
        AttemptEnd::Changed { why, .. } | AttemptEnd::Unchanged { why, .. } => fill(why, said),
        AttemptEnd::Failed { failure, .. } => {
            let Failure {
                message,
                status,
                last_lines,
                hint,
                ..
            } = failure;
            let said = match status {
                Some(status) => said
                    .split_once(&format!(" ({status})"))
                    .map_or(said, |(said, _)| said),
                None => said,
            };
            fill(message, said);
            for line in &lines[at..] {
                if let Some(line) = line.strip_prefix(LINE) {
                    last_lines.push(line.to_owned());
                } else if let (Some(said), Some(hint)) = (line.strip_prefix(HINT), hint.as_mut()) {
                    fill(hint, said);
                }
            }
        }
        AttemptEnd::Skipped { .. } | AttemptEnd::Cancelled => {}
    }
}

/// Takes the whole sentence, if it is the one in which something was left out.
fn fill(kept: &mut String, said: &str) {
    let Some((before, rest)) = kept.split_once(OMITTED) else {
        return;
    };
    let after = rest.rsplit(OMITTED).next().unwrap_or(rest);
    if said.len() >= before.len() + after.len() && said.starts_with(before) && said.ends_with(after)
    {
        said.clone_into(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::FailureKind;

    fn cited(lines: &[&str]) -> BTreeSet<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn failed(message: &str, status: Option<&str>, lines: &[&str]) -> AttemptEnd {
        let mut failure = Failure::new(FailureKind::Command, message);
        failure.status = status.map(str::to_owned);
        failure.last_lines = lines.iter().map(|line| (*line).to_owned()).collect();
        AttemptEnd::Failed {
            failure,
            retry: false,
        }
    }

    #[test]
    fn what_the_journal_leaves_out_comes_back_from_the_log() {
        let cited = cited(&["connection refused", "connection refused by 10.0.0.1", "no"]);
        let hinted = AttemptEnd::Failed {
            failure: Failure::new(FailureKind::Refused, "the lamp may burn")
                .hint("seen: lamp unknown (exit 9: connection refused by 10.0.0.1)"),
            retry: false,
        };
        for end in [
            failed(
                "`sh` failed",
                Some("exit 3"),
                &["one", "connection refused"],
            ),
            failed(
                "a=unknown (connection refused), b=unknown (connection refused by 10.0.0.1), c",
                None,
                &[],
            ),
            hinted,
            AttemptEnd::Changed {
                why: "no clear answer (connection refused)".into(),
                outputs: std::collections::BTreeMap::new(),
            },
        ] {
            let kept = kept(&end, &cited);
            assert!(!format!("{kept:?}").contains("refused\""), "{kept:?}");
            assert!(!format!("{kept:?}").contains("connection"), "{kept:?}");
            assert!(omits(&kept));
            let log = format!("$ sh\n! not ours\nno\n{}", spoken(&end, &cited));
            let mut again = kept.clone();
            recall(&mut again, &log);
            assert_eq!(again, end);
            // Without its log, or with the log of something else, the sentence stands as it is.
            for log in ["", "$ sh\n! something else\n"] {
                let mut again = kept.clone();
                recall(&mut again, log);
                assert_eq!(again, kept);
            }
        }
    }

    #[test]
    fn an_end_that_cites_nobody_is_kept_whole_and_says_nothing_in_the_log() {
        let end = AttemptEnd::Unchanged {
            why: "already so: lamp lit".into(),
            outputs: std::collections::BTreeMap::new(),
        };
        let cited = cited(&["", "lit", "another line"]);
        assert_eq!(kept(&end, &cited), end);
        assert_eq!(spoken(&end, &cited), "");
        assert!(!omits(&end));
    }

    #[test]
    fn a_sentence_that_is_another_one_is_not_taken() {
        for (kept, said) in [
            ("a … z", "a b y"),
            ("a … z", "b c z"),
            ("ab…ba", "aba"),
            ("a z", "a b z"),
        ] {
            let mut sentence = kept.to_owned();
            fill(&mut sentence, said);
            assert_eq!(sentence, kept, "{said}");
        }
        for (kept, said) in [
            ("a … … z", "a b c z"),
            ("said before … said after", "said before this said after"),
        ] {
            let mut sentence = kept.to_owned();
            fill(&mut sentence, said);
            assert_eq!(sentence, said);
        }
    }

    #[test]
    fn the_lines_of_an_earlier_end_are_not_recalled() {
        let mut end = failed("`sh` failed", Some("exit 3"), &[]);
        recall(
            &mut end,
            "! `sh` failed (exit 3)\n! | old\n! `sh` failed (exit 3)\n! | new\n",
        );
        assert_eq!(end, failed("`sh` failed", Some("exit 3"), &["new"]));
    }
}
