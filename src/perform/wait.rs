//! Waiting for an effect: a question asked again and again, with a deadline, and with words for what was seen.

use std::time::Duration;

use crate::perform::lasting::Lasting;
use crate::perform::{Stop, Verdict, Work};
use crate::playbook::{Question, Until};
use crate::process::Stopwatch;
use crate::run::event::Note;
use crate::run::{Failure, FailureKind};
use crate::template::Scope;

/// How a wait ended.
pub(super) enum Waited {
    /// The effect is there.
    Arrived {
        /// What was seen.
        seen: String,
        /// After how long.
        after: Duration,
    },
    /// It will not come.
    Lost {
        /// What was seen.
        seen: String,
    },
    /// Time is over.
    Late(Failure),
}

impl Work<'_> {
    pub(super) async fn wait(&self, until: &Until, scope: &Scope) -> Result<Waited, Stop> {
        let pace = self.performer.settings.pace;
        let within = pace.wait(until.within);
        let begun = Stopwatch::start();
        let mut last = String::new();
        let mut lost = Lasting::new();
        loop {
            let verdict = self.ask(&until.question, scope, false).await?;
            if verdict.seen() != last {
                last = verdict.seen().to_owned();
                self.write_log(&format!(
                    "# waiting for {}: {last}\n",
                    Self::describe(&until.question)
                ));
            }
            if let Verdict::Met(seen) = verdict {
                return Ok(Waited::Arrived {
                    seen,
                    after: begun.elapsed(),
                });
            }
            if !until.lost.is_empty() && is_lost(until, &verdict) {
                let lasts = lost.see("lost", pace.grace(until.lost_after));
                if lasts || begun.elapsed() >= within {
                    return Ok(Waited::Lost { seen: last });
                }
            } else {
                lost.is_over();
            }
            let elapsed = begun.elapsed();
            if elapsed >= within {
                let message = format!(
                    "waited {}s for {}; last seen: {last}",
                    until.within.as_secs(),
                    Self::describe(&until.question)
                );
                let late = Failure::new(FailureKind::Until, message);
                return Ok(Waited::Late(match &until.say {
                    Some(say) => late.hint(self.text(say, scope)?),
                    None => late,
                }));
            }
            self.reporter.note(Note::Waiting {
                seen: format!("{}: {last}", Self::describe(&until.question)),
                elapsed_ms: millis(elapsed.mul_f64(pace.factor())),
                within_ms: millis(until.within),
            });
            let pause = pace.pause(until.every).min(within.saturating_sub(elapsed));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.cancel.termed() => return Err(Stop::Cancelled),
            }
        }
    }
}

/// Whether what was seen names a state in which the effect is lost.
fn is_lost(until: &Until, verdict: &Verdict) -> bool {
    let Question::Probe(_) = &until.question else {
        return false;
    };
    let Verdict::Unmet(seen) = verdict else {
        return false;
    };
    seen.split([',', ' ', '='])
        .any(|word| until.lost.iter().any(|lost| lost == word))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
