//! Chance that can be repeated: a number depends on the world's seed and on what it is for, not on the order of calls.

/// Returns a number from `low` to `high`, both included, for this seed and purpose.
pub(crate) fn between(seed: u64, purpose: &str, low: u64, high: u64) -> u64 {
    low + mix(seed, purpose) % (high.saturating_sub(low) + 1)
}

/// Returns 64 bits for this seed and purpose.
pub(crate) fn mix(seed: u64, purpose: &str) -> u64 {
    let hash = blake3::keyed_hash(&key(seed), purpose.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Returns a word of `length` letters from an alphabet, for this seed and purpose.
pub(crate) fn word(seed: u64, purpose: &str, alphabet: &str, length: usize) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    let mut reader = blake3::Hasher::new_keyed(&key(seed))
        .update(purpose.as_bytes())
        .finalize_xof();
    let mut bytes = vec![0; length];
    reader.fill(&mut bytes);
    bytes
        .iter()
        .map(|byte| letters[usize::from(*byte) % letters.len()])
        .collect()
}

/// Returns something in the form of a UUID, for this seed and purpose.
pub(crate) fn uuid(seed: u64, purpose: &str) -> String {
    let hex = word(seed, purpose, "0123456789abcdef", 32);
    format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

fn key(seed: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key
}
