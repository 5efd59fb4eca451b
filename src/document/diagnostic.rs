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
            range,
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

/// All problems that were found, in the order of their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

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
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
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
                group = group.element(
                    Snippet::source(excerpt.text.as_str())
                        .path(excerpt.path.as_str())
                        .annotation(
                            AnnotationKind::Primary
                                .span(clamp(excerpt.range.clone(), &excerpt.text)),
                        ),
                );
            }
            group.element(
                Snippet::source(source.text.as_str())
                    .path(source.path.display().to_string())
                    .annotation(
                        AnnotationKind::Context
                            .span(clamp(span.start..span.end, &source.text))
                            .label("used here"),
                    ),
            )
        }
        Some((span, source)) => {
            let mut snippet = Snippet::source(source.text.as_str())
                .path(source.path.display().to_string())
                .annotation(
                    AnnotationKind::Primary.span(clamp(span.start..span.end, &source.text)),
                );
            for (also, word) in &diagnostic.also {
                if also.file == span.file {
                    snippet = snippet.annotation(
                        AnnotationKind::Context
                            .span(clamp(also.start..also.end, &source.text))
                            .label(word.as_str()),
                    );
                }
            }
            let mut group = title.element(snippet);
            for (also, word) in &diagnostic.also {
                if also.file != span.file
                    && let Some(source) = sources.source(*also)
                {
                    group = group.element(
                        Snippet::source(source.text.as_str())
                            .path(source.path.display().to_string())
                            .annotation(
                                AnnotationKind::Context
                                    .span(clamp(also.start..also.end, &source.text))
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

/// The first line of a span, moved to character boundaries: the renderer accepts nothing else.
fn clamp(span: Range<usize>, text: &str) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let line = text[start..end].find('\n').map_or(end, |at| start + at);
    start..line.max(start)
}
