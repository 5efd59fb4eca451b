//! Law 13: the torn tail is repaired, a damaged middle is refused with its line, an old journal loads for ever.

use super::*;
use std::fs;
use tempfile::TempDir;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Event {
    RunStarted { story: String },
    AttemptStarted { task: String, attempt: u32 },
    Settled,
}

fn events() -> Vec<Event> {
    let mut events = vec![Event::RunStarted {
        story: "1.3 \"both\" planes\n, ü".to_owned(),
    }];
    for attempt in 1..6 {
        events.push(Event::AttemptStarted {
            task: format!("1.3/apply[infra-cp-{attempt}]"),
            attempt,
        });
    }
    events.push(Event::Settled);
    events
}

fn at(number: usize) -> Timestamp {
    let number = i64::try_from(number).unwrap();
    Timestamp::from_millisecond(1_795_409_085_000 + 250 * number).unwrap()
}

/// A journal of all the events, and its lines.
fn written() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let mut journal = Journal::create(&path).unwrap();
    for (number, event) in events().iter().enumerate() {
        let durability = if number % 2 == 0 {
            Durability::Sync
        } else {
            Durability::Later
        };
        assert_eq!(
            journal.append(event, at(number), durability).unwrap(),
            number as u64 + 1
        );
    }
    journal.sync().unwrap();
    let bytes = fs::read(&path).unwrap();
    (folder, path, bytes)
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.split(|&byte| byte == b'\n').count() - 1
}

fn expected(count: usize) -> Vec<Record<Event>> {
    let records = events()
        .into_iter()
        .enumerate()
        .map(|(number, event)| Record {
            seq: number as u64 + 1,
            at: at(number),
            event,
        });
    records.take(count).collect()
}

#[test]
fn what_is_written_is_read() {
    let (_folder, path, _) = written();
    let loaded = Journal::<Event>::load_read_only(&path).unwrap();
    assert_eq!(loaded.records, expected(7));
    assert_eq!(loaded.torn, None);
}

#[test]
fn a_line_looks_as_documented() {
    let (_folder, _, bytes) = written();
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(
        first.starts_with(
            r#"{"format":1,"seq":1,"at":"2026-11-23T04:44:45.000Z","event":{"run-started":"#
        ),
        "{first}"
    );
    let second = lines.next().unwrap();
    let head = r#"{"seq":2,"at":"2026-11-23T04:44:45.250Z","event":{"attempt-started":{"task":"1.3/apply[infra-cp-1]","attempt":1}},"sum":""#;
    assert!(second.starts_with(head), "{second}");
    assert_eq!(second.len(), head.len() + 10);
}

#[test]
fn a_journal_is_for_its_owner_and_is_not_written_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path, _) = written();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let error = Journal::<Event>::create(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot create the journal `/"),
        "{error}"
    );
}

#[test]
fn it_goes_on_where_it_stopped() {
    let (_folder, path, _) = written();
    let (mut journal, loaded) = Journal::open(&path).unwrap();
    assert_eq!((journal.last(), loaded.records.len()), (7, 7));
    assert_eq!(
        journal
            .append(&Event::Settled, at(7), Durability::Sync)
            .unwrap(),
        8
    );
    let loaded = Journal::<Event>::load_read_only(&path).unwrap();
    assert_eq!((loaded.records.len(), loaded.torn), (8, None));
}

#[test]
fn law_13_cut_anywhere_it_holds_the_whole_records_before() {
    let (_folder, path, bytes) = written();
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let whole = newlines(&bytes[..cut]);
        let length = bytes[..cut]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let torn = (cut > length).then(|| Torn {
            line: whole as u64 + 1,
            bytes: (cut - length) as u64,
        });
        let read = Journal::<Event>::load_read_only(&path).unwrap();
        assert_eq!(read.records, expected(whole), "cut at {cut}");
        assert_eq!(read.torn, torn, "cut at {cut}");
        assert_eq!(
            fs::read(&path).unwrap().len(),
            cut,
            "reading changes nothing"
        );

        let (mut journal, loaded) = Journal::open(&path).unwrap();
        assert_eq!(loaded, read);
        journal
            .append(&events()[whole.min(6)], at(whole), Durability::Later)
            .unwrap();
        let after = Journal::<Event>::load_read_only(&path).unwrap();
        assert_eq!(
            (after.records.len(), after.torn),
            (whole + 1, None),
            "cut at {cut}"
        );
    }
}

#[test]
fn law_13_any_byte_changed_before_the_last_line_is_refused_with_its_line() {
    let (_folder, path, bytes) = written();
    let last = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .unwrap();
    let mut changed = bytes.clone();
    for at in 0..=last {
        for flip in [1, 0x20, 0x80] {
            changed[at] ^= flip;
            fs::write(&path, &changed).unwrap();
            let expected = newlines(&bytes[..at]) as u64 + 1;
            match Journal::<Event>::open(&path) {
                Err(Error::Damaged { line, .. }) => assert_eq!(line, expected, "byte {at}"),
                other => panic!("byte {at} with {flip}: {other:?}"),
            }
            changed[at] ^= flip;
        }
    }
}

#[test]
fn a_last_line_with_a_wrong_sum_is_torn() {
    let (_folder, path, mut bytes) = written();
    let digit = bytes.len() - 10;
    bytes[digit] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (_, loaded) = Journal::<Event>::open(&path).unwrap();
    assert_eq!(loaded.records, expected(6));
    assert_eq!(loaded.torn.unwrap().line, 7);
}

#[test]
fn zeros_at_the_end_are_torn() {
    let (_folder, path, mut bytes) = written();
    bytes.extend_from_slice(&[0; 100]);
    fs::write(&path, &bytes).unwrap();
    let (_, loaded) = Journal::<Event>::open(&path).unwrap();
    assert_eq!(loaded.records, expected(7));
    assert_eq!(
        loaded.torn,
        Some(Torn {
            line: 8,
            bytes: 100
        })
    );
}

#[test]
fn lines_that_are_missing_doubled_or_moved_are_refused() {
    let (_folder, path, bytes) = written();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let refused = |lines: Vec<&[u8]>, expected: u64| {
        fs::write(&path, lines.concat()).unwrap();
        match Journal::<Event>::open(&path) {
            Err(Error::Damaged { line, why, .. }) => {
                assert_eq!((line, why), (expected, Damage::Sum));
            }
            other => panic!("{other:?}"),
        }
    };
    let mut missing = lines.clone();
    missing.remove(2);
    refused(missing, 3);
    let mut doubled = lines.clone();
    doubled.insert(2, lines[2]);
    refused(doubled, 4);
    let mut moved = lines.clone();
    moved.swap(1, 2);
    refused(moved, 2);
    refused(lines[1..].to_vec(), 1);
}

/// Writes a line with a good checksum.
fn forge(path: &Path, heads: &[&str]) {
    let mut sum = 0;
    let mut text = String::new();
    for head in heads {
        sum = chain(sum, head.as_bytes());
        text.push_str(head);
        text.push_str(&tail(sum));
        text.push('\n');
    }
    fs::write(path, text).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_an_unknown_event_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let refused = |heads: &[&str]| {
        forge(&path, heads);
        let error = Journal::<Event>::open(&path).unwrap_err();
        error
            .to_string()
            .replace(&path.display().to_string(), "FILE")
    };
    let second = r#"{"seq":2,"at":"2026-11-23T04:44:45Z","event":"settled""#;
    assert_eq!(
        refused(&[r#"{"format":2,"whatever":{}"#, second]),
        "journal `FILE` has format 2; this version reads up to 1"
    );
    let first = r#"{"format":1,"seq":1,"at":"2026-11-23T04:44:45Z","event":"settled""#;
    assert_eq!(
        refused(&[
            first,
            r#"{"seq":2,"at":"2026-11-23T04:44:45Z","event":"sung""#
        ]),
        "journal `FILE` line 2 is not an event that this version knows"
    );
    assert_eq!(
        refused(&[first, first]),
        "journal `FILE` is damaged at line 2: its number is not that of its line"
    );
    assert_eq!(
        refused(&[second]),
        "journal `FILE` is damaged at line 1: it is not a record"
    );
    forge(
        &path,
        &[
            first,
            r#"{"seq":2,"at":"2026-11-23T04:44:45Z","note":"a field from later","event":"settled""#,
        ],
    );
    assert_eq!(
        Journal::<Event>::load_read_only(&path)
            .unwrap()
            .records
            .len(),
        2
    );
}

#[test]
fn a_live_journal_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let mut journal = Journal::create(&path).unwrap();
    assert_eq!(Journal::<Event>::load_read_only(&path).unwrap().records, []);
    for (number, event) in events().iter().enumerate() {
        journal
            .append(event, at(number), Durability::Later)
            .unwrap();
        let loaded = Journal::<Event>::load_read_only(&path).unwrap();
        assert_eq!(loaded.records, expected(number + 1));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn after_one_failed_write_no_other_is_tried() {
    let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut journal = Journal::<Event>::at(Path::new("/dev/full"), Box::new(file), 0, 0);
    let mut append = || {
        journal
            .append(&Event::Settled, at(0), Durability::Later)
            .unwrap_err()
    };
    assert!(matches!(append(), Error::Io { what: "write", .. }));
    assert!(matches!(append(), Error::Poisoned { .. }));
    assert!(matches!(journal.sync(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_journal_of_version_1_loads_for_ever() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-v1.jsonl");
    let loaded = Journal::<Event>::load_read_only(&fixture).unwrap();
    assert_eq!(loaded.records, expected(7));
    // And what is written today is the same, to the byte.
    assert_eq!(fs::read(fixture).unwrap(), written().2);
}

#[test]
fn law_03_a_file_that_cannot_be_synced_says_so() {
    // A pipe takes what is written, and has no disk to be on.
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut pipe = File::from(std::os::fd::OwnedFd::from(writer));
    Disk::append(&mut pipe, b"line\n").unwrap();
    Disk::sync(&mut pipe).unwrap_err();
}

/// A disk that keeps what it is asked to do.
#[derive(Debug, Clone, Default)]
struct Asked(std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>);

impl Disk for Asked {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().push("append");
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().push("sync");
        Ok(())
    }

    fn cut(&mut self, _: u64) -> io::Result<()> {
        self.0.lock().unwrap().push("cut");
        Ok(())
    }
}

#[test]
fn law_03_what_must_be_durable_is_synced_and_nothing_else() {
    let asked = Asked::default();
    let (mut journal, _) = Journal::on(Path::new("journal"), Box::new(asked.clone()), b"").unwrap();
    for (durability, expected) in [
        (Durability::Later, &["append"][..]),
        (Durability::Sync, &["append", "sync"]),
        (Durability::Later, &["append"]),
    ] {
        journal.append(&Event::Settled, at(0), durability).unwrap();
        assert_eq!(asked.0.lock().unwrap().drain(..).as_slice(), expected);
    }
}

#[test]
fn a_line_without_a_checksum_is_told_from_one_whose_checksum_is_wrong() {
    for (line, why) in [
        (r#"{"seq":1,"sum":"00000000"}"#, Damage::Sum),
        (r#"{"seq":1,"som":"00000000"}"#, Damage::NoSum),
        (r#"{"seq":1,"sum":"00000000"]"#, Damage::NoSum),
        (r#"{"seq":1}"#, Damage::NoSum),
    ] {
        assert_eq!(check(line.as_bytes(), 0), Err(why), "{line}");
    }
}
