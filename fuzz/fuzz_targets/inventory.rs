#![no_main]

use bootstrap_fuzz::{folder, readers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| readers::inventory(folder(), bytes));
