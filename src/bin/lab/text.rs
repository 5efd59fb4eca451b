//! Forms of text that several tools share: Go's tables, Go's JSON, go-multierror.

use std::fmt::Write as _;
use std::io;

use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

/// Returns texts, each as a line.
pub(crate) fn lines<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut all = String::new();
    for text in texts {
        all.push_str(text.as_ref());
        all.push('\n');
    }
    all
}

/// Returns rows as Go's tabwriter does: each cell but the last of a line padded to its column and a gap.
pub(crate) fn table(rows: &[Vec<String>], gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter(|row| column + 1 < row.len())
            .filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
            + gap
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == row.len() {
                text.push_str(cell);
            } else {
                write!(text, "{cell:<width$}", width = widths[column])
                    .expect("writing to a string cannot fail");
            }
        }
        text.push('\n');
    }
    text
}

/// Returns cells as owned words.
pub(crate) fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

/// Returns errors as go-multierror shows them.
pub(crate) fn several(errors: &[String]) -> String {
    let head = if errors.len() == 1 {
        "1 error".to_string()
    } else {
        format!("{} errors", errors.len())
    };
    let lines: Vec<String> = errors.iter().map(|error| format!("\t* {error}")).collect();
    format!("{head} occurred:\n{}\n\n", lines.join("\n"))
}

/// Returns JSON with this indent.
pub(crate) fn pretty(value: &Value, indent: &str) -> String {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    let written: Result<(), io::Error> = value
        .serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .map_err(Into::into);
    written.expect("writing to memory cannot fail");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Returns JSON as Go's encoder does: keys sorted, `<`, `>` and `&` escaped, this indent.
pub(crate) fn go_json(value: &Value, indent: &str) -> String {
    pretty(&sorted(value), indent)
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// Returns a value whose keys are sorted throughout.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort();
            Value::Object(
                keys.into_iter()
                    .map(|key| (key.clone(), sorted(&members[key])))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{go_json, row, several, table};

    #[test]
    fn the_last_cell_is_not_padded_but_the_one_before_it_is() {
        let rows = [row(&["NODE", "READY"]), row(&["10.25.11.11", "true"])];
        assert_eq!(table(&rows, 3), "NODE          READY\n10.25.11.11   true\n");
    }

    #[test]
    fn several_errors_are_counted() {
        assert_eq!(several(&["a".to_string()]), "1 error occurred:\n\t* a\n\n");
        assert_eq!(
            several(&["a".to_string(), "b".to_string()]),
            "2 errors occurred:\n\t* a\n\t* b\n\n"
        );
    }

    #[test]
    fn go_sorts_keys_and_escapes_html() {
        let value = serde_json::json!({ "b": "<", "a": [] });
        assert_eq!(
            go_json(&value, "  "),
            "{\n  \"a\": [],\n  \"b\": \"\\u003c\"\n}"
        );
    }
}
