//! How fast output is masked: a hundred secrets in all their forms, beside aho-corasick with the hundred values alone.
//!
//! `make bench` runs it. Every round measures both, one after the other, on the same text, in the time that the processor gave them; the
//! ratio is taken within a round. What is claimed in megabytes a second is the machine's matter: it is printed, held or not, and fails
//! nothing.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "its table is what it is for; without it it ends"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use bootstrap::secret::{MASKED, Mask};

/// Bytes of each text.
const SIZE: usize = 16 << 20;
/// Measurements of each row.
const ROUNDS: usize = 9;
/// Megabytes a second that are claimed.
const CLAIM: f64 = 300.0;

/// Numbers from a seed (xorshift); the same ones each time.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }

    /// So many characters of the alphabet of base64.
    fn word(&mut self, length: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..length)
            .map(|_| char::from(ALPHABET[self.next(ALPHABET.len())]))
            .collect()
    }
}

/// What a platform has: passwords, tokens, and keys of many lines.
fn secrets(chance: &mut Chance) -> Vec<String> {
    let mut secrets: Vec<String> = (0..90).map(|at| chance.word(12 + at % 53)).collect();
    for _ in 0..10 {
        let mut key = String::from("-----BEGIN PRIVATE KEY-----\n");
        for _ in 0..26 {
            writeln!(key, "{}", chance.word(64)).unwrap();
        }
        secrets.push(key + "-----END PRIVATE KEY-----\n");
    }
    secrets
}

/// Lines as tools print them; every so many bytes one has a secret, plain or in base64.
fn output(chance: &mut Chance, secrets: &[String], every: Option<usize>) -> Vec<u8> {
    let mut text = String::with_capacity(SIZE + 4096);
    let mut next = every.unwrap_or(usize::MAX);
    while text.len() < SIZE {
        let (node, number) = (chance.next(6), chance.next(100_000));
        writeln!(text, "10.25.11.1{node}: 2026-11-29T03:00:00.{number:05}Z INFO kubelet pod kube-system/cilium-{number:x} is Running, {number} ms").unwrap();
        if text.len() > next {
            let secret = &secrets[chance.next(90)];
            let encoded = base64::engine::general_purpose::STANDARD.encode(secret);
            writeln!(text, "token: {secret} and {encoded}").unwrap();
            next += every.unwrap_or_default();
        }
    }
    text.into_bytes()
}

/// One long text without a secret that looks like nothing but secrets.
fn encoded(chance: &mut Chance) -> Vec<u8> {
    let mut text = String::with_capacity(SIZE + 80);
    while text.len() < SIZE {
        text.push_str(&chance.word(76));
        text.push('\n');
    }
    text.into_bytes()
}

/// How long this thread has had a processor, where the system says so: a busy machine is no slow mask.
fn processor_time(since: Instant) -> Duration {
    let given = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = given.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

/// Megabytes a second, and how often something was masked.
fn speed(text: &[u8], mask: impl FnOnce() -> Vec<u8>) -> (f64, usize) {
    let since = Instant::now();
    let before = processor_time(since);
    let masked = black_box(mask());
    let seconds = processor_time(since).saturating_sub(before).as_secs_f64();
    let found = String::from_utf8(masked).unwrap().matches(MASKED).count();
    #[expect(clippy::cast_precision_loss, reason = "a size in megabytes")]
    let megabytes = text.len() as f64 / 1e6;
    (megabytes / seconds, found)
}

fn middle(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

fn main() {
    let chance = &mut Chance(0x9E37_79B9_7F4A_7C15);
    let secrets = secrets(chance);
    let mask = Mask::new();
    mask.add_texts(secrets.iter().map(String::as_str));
    let peer = AhoCorasick::new(&secrets).unwrap();
    let replacements = vec![MASKED; secrets.len()];
    let rows = [
        (
            "output of tools, 64 KiB a piece",
            output(chance, &secrets, None),
            64 << 10,
        ),
        (
            "the same, 4 KiB a piece",
            output(chance, &secrets, None),
            4 << 10,
        ),
        (
            "a secret every 4 KiB",
            output(chance, &secrets, Some(4 << 10)),
            64 << 10,
        ),
        ("base64 and nothing else", encoded(chance), 64 << 10),
    ];
    println!(
        "| masking with {} secrets | MB/s | aho-corasick, values alone | ours/peer | found |",
        secrets.len()
    );
    println!("|---|---|---|---|---|");
    let mut held = true;
    for (name, text, piece) in &rows {
        let (mut ours, mut theirs, mut ratios, mut hits) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let (mine, found) = speed(text, || {
                let mut out = Vec::with_capacity(text.len() + 4096);
                let mut stream = mask.stream();
                for chunk in text.chunks(*piece) {
                    stream.push(chunk, &mut out);
                }
                stream.finish(&mut out);
                out
            });
            let (other, _) = speed(text, || peer.replace_all_bytes(text, &replacements));
            hits = found;
            ours.push(mine);
            theirs.push(other);
            ratios.push(mine / other);
        }
        let shown =
            |(middle, least, most): (f64, f64, f64)| format!("{middle:.0} ({least:.0}–{most:.0})");
        let (ours, theirs, (ratio, least, most)) = (middle(ours), middle(theirs), middle(ratios));
        println!(
            "| {name} | {} | {} | {ratio:.2} ({least:.2}–{most:.2}) | {hits} |",
            shown(ours),
            shown(theirs)
        );
        held &= ours.0 >= CLAIM;
    }
    println!(
        "\nbench: masking; claimed are at least {CLAIM:.0} MB/s: {}",
        if held { "held" } else { "NOT held here" }
    );
}
