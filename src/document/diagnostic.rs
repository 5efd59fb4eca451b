//! What is wrong with a file, with the place, and the one way in which it is shown.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::{Sources, Span, line_column};

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What was found, and what was expected.
    pub message: String,
    /// Where; nothing where a whole file is meant.
    pub span: Option<Span>,
    /// A second place that matters, with a word about it.
    pub also: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
    /// The very place, where it lies in a file that the place above only names: a template.
    pub excerpt: Option<Excerpt>,
}

/// A place in a file that is not among the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The file, relative to the project.
    pub path: String,
    /// What it says.
    pub text: String,
    /// Where in it.
    pub range: Range<usize>,
}

impl Diagnostic {
    /// A problem at a place.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: Some(span),
            also: Vec::new(),
            help: None,
            excerpt: None,
        }
    }

    /// A problem that is nowhere in particular.
    pub fn without_place(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            also: Vec::new(),
            help: None,
            excerpt: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn also(mut self, span: Span, word: impl Into<String>) -> Self {
        self.also.push((span, word.into()));
        self
    }

    /// Says that the problem lies in another file, which this place only names.
    #[must_use]
    pub fn within(mut self, path: &str, text: &str, range: Range<usize>) -> Self {
        self.excerpt = Some(Excerpt {
            path: path.to_owned(),
            text: text.to_owned(),
            // A parser may point behind the end.
            range: inside(range, text),
        });
        self
    }

    /// Adds a did-you-mean when one of `known` is near to `word`.
    #[must_use]
    pub fn suggest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

/// The known word that is nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            // Of one letter nothing is near.
            let shorter = candidate.chars().count().min(word.chars().count());
            *distance <= 1 + shorter / 4 && *distance < shorter
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// All problems that were found, in the order of their places. Of more than [`MOST`] only the first are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

/// So many problems are told: who has more has one that makes all the others, such as a file of another kind.
pub const MOST: usize = 1000;

/// A problem as machines read it.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The file, relative to the project.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1, in characters.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() || self.0.contains(&diagnostic) {
            return;
        }
        self.0.push(diagnostic);
        if self.0.len() == MOST {
            self.0.push(Diagnostic::without_place(format!(
                "there may be more problems than these {MOST}"
            )));
        }
    }

    /// Whether there are so many that no other is taken.
    pub fn is_full(&self) -> bool {
        self.0.len() > MOST
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, sorted by file and place.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<&Diagnostic> = self.0.iter().collect();
        all.sort_by_key(|diagnostic| (diagnostic.span.is_none(), diagnostic.span));
        all
    }

    /// As machines read them.
    pub fn findings(&self, sources: &Sources) -> Vec<Finding> {
        self.sorted()
            .into_iter()
            .map(|diagnostic| {
                let place = match &diagnostic.excerpt {
                    Some(excerpt) => Some((
                        excerpt.path.clone(),
                        line_column(&excerpt.text, excerpt.range.start),
                    )),
                    None => diagnostic.span.and_then(|span| {
                        let source = sources.source(span)?;
                        Some((source.path.display().to_string(), sources.line_column(span)))
                    }),
                };
                Finding {
                    file: place.as_ref().map(|(file, _)| file.clone()),
                    line: place.as_ref().map(|(_, (line, _))| *line),
                    column: place.as_ref().map(|(_, (_, column))| *column),
                    message: diagnostic.message.clone(),
                    help: diagnostic.help.clone(),
                }
            })
            .collect()
    }

    /// As people read them: the text with a caret, one after the other.
    pub fn render(&self, sources: &Sources, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for diagnostic in self.sorted() {
            out.push_str(&renderer.render(&report(diagnostic, sources)));
            out.push_str("\n\n");
        }
        out
    }
}

fn report<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Vec<Group<'a>> {
    let title = Level::ERROR.primary_title(diagnostic.message.as_str());
    let mut group = match diagnostic
        .span
        .and_then(|span| Some((span, sources.source(span)?)))
    {
        Some((span, source)) if diagnostic.excerpt.is_some() => {
            let mut group = Group::with_title(title);
            if let Some(excerpt) = &diagnostic.excerpt {
                let window = Window::around(&excerpt.text, [excerpt.range.clone()]);
                group =
                    group.element(window.snippet().path(excerpt.path.as_str()).annotation(
                        AnnotationKind::Primary.span(window.place(excerpt.range.clone())),
                    ));
            }
            let place = span.start..span.end;
            let window = Window::around(&source.text, [place.clone()]);
            group.element(
                window
                    .snippet()
                    .path(source.path.display().to_string())
                    .annotation(
                        AnnotationKind::Context
                            .span(window.place(place))
                            .label("used here"),
                    ),
            )
        }
        Some((span, source)) => {
            let place = span.start..span.end;
            let here = diagnostic
                .also
                .iter()
                .filter(|(also, _)| also.file == span.file);
            let window = Window::around(
                &source.text,
                std::iter::once(place.clone())
                    .chain(here.clone().map(|(also, _)| also.start..also.end)),
            );
            let mut snippet = window
                .snippet()
                .path(source.path.display().to_string())
                .annotation(AnnotationKind::Primary.span(window.place(place)));
            for (also, word) in here {
                snippet = snippet.annotation(
                    AnnotationKind::Context
                        .span(window.place(also.start..also.end))
                        .label(word.as_str()),
                );
            }
            let mut group = title.element(snippet);
            for (also, word) in &diagnostic.also {
                if also.file != span.file
                    && let Some(source) = sources.source(*also)
                {
                    let place = also.start..also.end;
                    let window = Window::around(&source.text, [place.clone()]);
                    group = group.element(
                        window
                            .snippet()
                            .path(source.path.display().to_string())
                            .annotation(
                                AnnotationKind::Context
                                    .span(window.place(place))
                                    .label(word.as_str()),
                            ),
                    );
                }
            }
            group
        }
        None => Group::with_title(title),
    };
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    vec![group]
}

/// The lines that are shown of a text. The renderer reads all that it is given, for each problem anew.
struct Window<'a> {
    text: &'a str,
    /// Its lines: a range of bytes, and the number of the first.
    lines: Range<usize>,
    first: usize,
}

impl<'a> Window<'a> {
    /// The lines from the first of some places to the last.
    fn around(text: &'a str, places: impl IntoIterator<Item = Range<usize>>) -> Self {
        let (mut start, mut end) = (text.len(), 0);
        for place in places {
            let place = clamp(place, text);
            start = start.min(place.start);
            end = end.max(place.end);
        }
        let start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
        Self {
            text,
            lines: start..end,
            first: text[..start].matches('\n').count() + 1,
        }
    }

    fn snippet<T: Clone>(&self) -> Snippet<'a, T> {
        Snippet::source(&self.text[self.lines.clone()]).line_start(self.first)
    }

    /// Where in the window a place of the text is.
    fn place(&self, place: Range<usize>) -> Range<usize> {
        let place = clamp(place, self.text);
        place.start - self.lines.start..place.end - self.lines.start
    }
}

/// The first line of a span, moved to character boundaries: the renderer accepts nothing else.
fn clamp(span: Range<usize>, text: &str) -> Range<usize> {
    let Range { start, end } = inside(span, text);
    let line = text[start..end].find('\n').map_or(end, |at| start + at);
    start..line.max(start)
}

/// The span, as far as it lies in the text, moved to character boundaries.
pub(super) fn inside(span: Range<usize>, text: &str) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
