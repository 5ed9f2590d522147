//! Deterministic pseudonyms of the form that the device gives: HMAC-SHA-256 under a test's key.

use sha2::{Digest, Sha256};

/// HMAC-SHA-256 (RFC 2104) of `purpose` and `value`.
fn mac(key: &[u8], purpose: &str, value: &str) -> [u8; 32] {
    let mut block = [0_u8; 64];
    let short: Vec<u8> = if key.len() > block.len() { Sha256::digest(key).to_vec() } else { key.to_vec() };
    for (into, byte) in block.iter_mut().zip(short) {
        *into = byte;
    }
    let keyed = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
    let inner = keyed(0x36).chain_update(purpose).chain_update(value).finalize();
    keyed(0x5c).chain_update(inner).finalize().into()
}

/// `2.25.` and the decimal form of a version 8 UUID.
pub(super) fn uid(key: &[u8], value: &str) -> String {
    let [head @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        mac(key, "uid", value.trim_matches([' ', '\0']));
    let head: [u8; 16] = head;
    let version = 0x8 << 76;
    let variant = 0b10 << 62;
    let bits = u128::from_be_bytes(head) & !(0xf << 76) & !(0b11 << 62) | version | variant;
    format!("2.25.{bits}")
}

/// 16 characters of base32 (RFC 4648): 80 bits.
pub(super) fn subject(key: &[u8], value: &str) -> String {
    let mac = mac(key, "subject", value.trim());
    let bits = mac.iter().take(10).fold(0_u128, |bits, &byte| bits << 8 | u128::from(byte));
    let letter = |index: u32| {
        let five = u8::try_from(bits >> (75 - 5 * index) & 31).unwrap_or_default();
        char::from(if five < 26 { b'A' + five } else { b'2' + five - 26 })
    };
    (0..16).map(letter).collect()
}

/// 1 to 3650.
pub(super) fn shift_days(key: &[u8], subject: &str) -> u32 {
    let [a, b, c, d, ..] = mac(key, "days", subject.trim());
    u32::from_be_bytes([a, b, c, d]) % 3650 + 1
}

/// Tells keys apart without telling anything about them.
pub(super) fn key_id(key: &[u8]) -> String {
    let [a, b, c, d, ..] = mac(key, "key-id", "");
    format!("mock-{:08x}", u32::from_be_bytes([a, b, c, d]))
}
