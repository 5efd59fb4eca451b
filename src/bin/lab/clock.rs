//! Time, as the lab sees it.
//!
//! Lab time runs `speed` times faster than the wall. This is the one place that reads the wall clock and the one place
//! that sleeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns the wall clock in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps for some milliseconds of lab time.
#[expect(
    clippy::disallowed_methods,
    reason = "a played tool takes its time; this is the one place"
)]
pub(crate) fn sleep(lab_ms: u64, speed: f64) {
    #[expect(clippy::cast_precision_loss, reason = "latencies are small")]
    let seconds = lab_ms as f64 / 1_000.0 / speed.max(0.001);
    std::thread::sleep(Duration::from_secs_f64(seconds.min(86_400.0)));
}

/// Returns `2026-11-22T09:14:03Z`.
pub(crate) fn rfc3339(ms: u64) -> String {
    timestamp(ms).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns the moment as a timestamp.
pub(crate) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Returns what `op` puts before each error: `[ERROR] 2024/11/16 20:40:08 `, in local time.
pub(crate) fn op_error_prefix() -> String {
    let now = timestamp(wall_ms()).to_zoned(TimeZone::system());
    now.strftime("[ERROR] %Y/%m/%d %H:%M:%S ").to_string()
}

/// Returns Go's short form of an age as Talos prints it: `1m12s`.
pub(crate) fn ago(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}
