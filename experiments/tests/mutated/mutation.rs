//! Random damage to a file's bytes.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Numbers at which code breaks.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// The longest file that damage makes.
const LONGEST: usize = 8 << 20;

/// Damages the first `reach` bytes in one to four ways. `words` are pieces of the file's language.
pub fn mutate(bytes: &mut Vec<u8>, reach: usize, words: &[&str], rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=4) {
        damage(bytes, reach, words, rng);
    }
}

fn damage(bytes: &mut Vec<u8>, reach: usize, words: &[&str], rng: &mut ChaCha8Rng) {
    let reach = reach.min(bytes.len());
    let at = rng.random_range(0..=reach);
    let end = (at + length(rng)).min(bytes.len());
    match rng.random_range(0..10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 => {
            let width = [1, 2, 4, 8].choose(rng).expect("four widths").to_owned();
            let number = NUMBERS.choose(rng).expect("not empty").to_le_bytes();
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let piece = bytes[at..end].to_vec();
            let to = rng.random_range(0..=reach);
            bytes.splice(to..to, piece);
        }
        6 => {
            let times = [2, 10, 1000, 100_000].choose(rng).expect("four counts").to_owned();
            let piece = bytes[at..end].repeat(times.min(LONGEST / (end - at).max(1)));
            bytes.splice(at..end, piece);
        }
        7 => {
            let zeros = bytes[at..end].len();
            bytes[at..end].copy_from_slice(&vec![0; zeros]);
        }
        _ => {
            if let Some(word) = words.choose(rng) {
                let end = if rng.random() { at } else { end };
                bytes.splice(at..end, word.bytes());
            }
        }
    }
}

/// Mostly short: 1 to 4096, each power of two as likely.
fn length(rng: &mut ChaCha8Rng) -> usize {
    1 << rng.random_range(0..=12)
}
