//! What only a person can say: to go on, by typing a word if need be, or that something is as it should be.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::perform::{Stop, Work};
use crate::playbook::Confirm;
use crate::run::event::Note;
use crate::run::{Event, Failure, FailureKind};
use crate::template::Scope;

/// What a person is asked.
#[derive(Clone)]
pub struct Prompt {
    /// What is about to happen.
    pub say: String,
    /// What has to be typed; otherwise yes or no.
    pub word: Option<String>,
    /// Whether a note may be given (for a sign-off).
    pub note: bool,
    /// Said by whoever asks when a person is really asked: from then on the run waits for people.
    pub asked: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Prompt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Prompt")
            .field("say", &self.say)
            .field("word", &self.word)
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

/// Asks a person and gives what they typed; `None` where nobody can be asked.
pub type Ask = Arc<dyn Fn(&Prompt) -> Option<String> + Send + Sync>;

impl Work<'_> {
    /// Asks a person; gives how they agreed.
    pub(super) async fn confirm(
        &self,
        confirm: &Confirm,
        scope: &Scope,
        sign_off: bool,
    ) -> Result<String, Stop> {
        let say = self.text(&confirm.say, scope)?;
        let word = confirm
            .word
            .as_ref()
            .map(|word| self.text(word, scope))
            .transpose()?;
        let settings = &self.performer.settings;
        if let Some(signed) = self.performer.known.signed.get(&self.task)
            && sign_off
        {
            return Ok(format!(
                "signed off by {}, {}: {}",
                signed.who,
                signed.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
                signed.note
            ));
        }
        let in_advance = match &word {
            None => (settings.yes && !sign_off).then(|| "--yes".to_owned()),
            Some(word) => settings
                .confirm
                .contains(word)
                .then(|| format!("--confirm {word}")),
        };
        let (how, note) = if let Some(how) = in_advance {
            (how, None)
        } else {
            self.reporter
                .note(Note::Doing("waiting for a person".into()));
            let begun: Arc<OnceLock<Instant>> = Arc::default();
            let (waits, reporter) = (Arc::clone(&begun), self.reporter.clone());
            let paused = Event::Paused {
                task: self.task.clone(),
                say: self.performer.mask.text(&say).into_owned(),
            };
            let prompt = Prompt {
                say: say.clone(),
                word: word.clone(),
                note: sign_off,
                asked: Arc::new(move || {
                    if waits.set(Instant::now()).is_ok() {
                        reporter.fact(paused.clone());
                    }
                }),
            };
            let ask = Arc::clone(&settings.ask);
            let typed = tokio::task::spawn_blocking(move || ask(&prompt))
                .await
                .unwrap_or(None);
            if let Some(begun) = begun.get() {
                self.reporter.fact(Event::Continued {
                    task: self.task.clone(),
                    paused_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                });
            }
            let Some(typed) = typed else {
                let failure = Failure::new(
                    FailureKind::Unconfirmed,
                    format!("a person has to agree, and nobody can be asked: {say}"),
                );
                return Err(match &word {
                    Some(word) => failure.hint(format!("pass `--confirm {word}`")),
                    None if sign_off => failure.hint(format!(
                        "look, then `bootstrap sign-off {} {} --note TEXT` and `bootstrap resume`",
                        self.story,
                        self.task
                            .as_str()
                            .split_once("/criterion-")
                            .map_or(self.task.as_str(), |(_, number)| number)
                    )),
                    None => failure.hint("pass `--yes`"),
                }
                .into());
            };
            let agreed = match &word {
                Some(word) => typed.trim() == word,
                None if sign_off => !typed.trim().is_empty(),
                None => matches!(typed.trim().to_ascii_lowercase().as_str(), "y" | "yes"),
            };
            if !agreed {
                return Err(Failure::new(
                    FailureKind::Unconfirmed,
                    format!("not confirmed: {say}"),
                )
                .into());
            }
            (
                "at the terminal".to_owned(),
                sign_off.then(|| typed.trim().to_owned()),
            )
        };
        self.reporter.fact(Event::Confirmed {
            task: self.task.clone(),
            who: settings.who.clone(),
            how: how.clone(),
            note: note.map(|note| self.performer.mask.text(&note).into_owned()),
        });
        Ok(format!("confirmed by {} ({how})", settings.who))
    }
}
