//! A run as Markdown, for the record.
