//! What is refused before the parser sees it, because it would end the whole program: the parser goes one call deeper for each link of a
//! chain such as `a ~ b ~ c` and for each `elif`, and nothing can be done about a stack that is used up.

use super::{Error, words};

/// The largest template file, in bytes: like a playbook, it is written by people.
pub(super) const LARGEST: u64 = 4 * 1024 * 1024;
/// So many signs and operators may hang on each other. The smallest stack of ours takes ten times as many.
const LINKS: usize = 400;
/// So many `elif` may be in one text.
const BRANCHES: usize = 100;

/// Refuses a text with braces in which something hangs on too much.
pub(super) fn of_template(source: &str) -> Result<(), Error> {
    let mut branches = 0;
    for block in words::blocks(source) {
        let inner = &source[block.clone()];
        of_part(inner, block.start)?;
        if words::first(inner) == "elif" {
            branches += 1;
            if branches > BRANCHES {
                return Err(refuse(
                    block.start,
                    &format!("more than {BRANCHES} `elif` are in this template"),
                ));
            }
        }
    }
    Ok(())
}

/// Refuses a condition in which something hangs on too much.
pub(super) fn of_expression(source: &str) -> Result<(), Error> {
    of_part(source, 0)
}

fn of_part(source: &str, offset: usize) -> Result<(), Error> {
    // For each bracket that is open, how many links hang on each other in it.
    let mut open = vec![0_usize];
    let mut links = 0;
    let mut quote = None;
    let mut escaped = false;
    let mut word = 0;
    for (at, c) in source.char_indices() {
        if let Some(mark) = quote {
            if c == mark && !escaped {
                quote = None;
            }
            escaped = c == '\\' && !escaped;
            continue;
        }
        let in_word = c.is_alphanumeric() || c == '_';
        let ends =
            !source[at + c.len_utf8()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let mut link = false;
        match c {
            '\'' | '"' => quote = Some(c),
            '(' | '[' | '{' => {
                link = true;
                open.push(0);
            }
            ')' | ']' | '}' => {
                if open.len() > 1 {
                    links -= open.pop().unwrap_or_default();
                }
            }
            // What follows is an element of its own.
            ',' => {
                if let Some(top) = open.last_mut() {
                    links -= std::mem::take(top);
                }
            }
            _ if in_word => {
                link = ends
                    && ["and", "else", "if", "in", "is", "not", "or"]
                        .contains(&&source[word..at + c.len_utf8()]);
            }
            _ => link = !c.is_whitespace(),
        }
        if !in_word || ends {
            word = at + c.len_utf8();
        }
        if link {
            links += 1;
            // A bracket hangs on what it stands behind, not on what is in it.
            let place = open.len() - 1 - usize::from("([{".contains(c));
            open[place] += 1;
        }
        if links > LINKS {
            return Err(refuse(
                offset + at,
                &format!("more than {LINKS} signs and operators hang on each other here"),
            ));
        }
    }
    Ok(())
}

fn refuse(at: usize, message: &str) -> Error {
    Error {
        message: format!("{message}: put parts of it into `{{% set %}}`"),
        range: Some(at..at + 1),
        file: None,
        line: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_no_chain_and_a_long_chain_is_refused_at_its_place() {
        let list = format!("{{{{ [{}] }}}}", "'a-b+c', x | upper, ".repeat(5000));
        assert_eq!(of_template(&list), Ok(()));
        let many = "é {{ a ~ b }}".repeat(5000);
        assert_eq!(of_template(&many), Ok(()));
        let dictionary = format!("{{% set x = {{ {} }} %}}", "'a': b.c, ".repeat(5000));
        assert_eq!(of_template(&dictionary), Ok(()));
        for link in [
            "+1",
            "|string",
            ".a",
            "()",
            "[0]",
            " or a",
            " is a",
            " if a else a",
            " not in a",
        ] {
            let chain = format!("a{}", link.repeat(LINKS + 1));
            let error = of_expression(&chain).unwrap_err();
            assert!(
                error.range.unwrap().start <= link.len() * (LINKS + 1),
                "{link}"
            );
            let template = format!("é {{{{ {chain} }}}}");
            assert!(of_template(&template).unwrap_err().range.unwrap().start > 3);
            let fits = format!("a{}", link.repeat(LINKS / 3));
            assert_eq!(of_expression(&fits), Ok(()), "{link}");
        }
        let nested = "f(1, ".repeat(LINKS + 1);
        assert!(
            of_expression(&nested).is_err(),
            "what stands before a comma does not hang on it, what is around it does"
        );
    }

    #[test]
    fn raw_text_hides_nothing_behind_it() {
        let hidden = format!(
            "{{% raw %}} {{{{ ' {{% endraw %}} {{{{ 1{} }}}}",
            "+1".repeat(LINKS + 1)
        );
        assert!(of_template(&hidden).is_err());
        let shown = format!(
            "{{%- raw -%}} {{{{ 1{} }}}} {{%- endraw -%}}",
            "+1".repeat(LINKS + 1)
        );
        assert_eq!(of_template(&shown), Ok(()));
    }

    #[test]
    fn words_of_other_languages_are_words() {
        assert_eq!(of_template("{{ été ~ 'é' ~ é.ü }} é {{ ü"), Ok(()));
    }

    #[test]
    fn branches_are_counted() {
        let template =
            |count: usize| format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(count));
        assert_eq!(of_template(&template(BRANCHES)), Ok(()));
        let error = of_template(&template(BRANCHES + 1)).unwrap_err();
        assert_eq!(
            error.message,
            "more than 100 `elif` are in this template: put parts of it into `{% set %}`"
        );
    }
}
