//! What of the CPU native code depends on.

/// The architecture and those features that the compiler makes use of.
pub(super) fn description() -> String {
    let mut text = std::env::consts::ARCH.to_owned();
    for (name, present) in features() {
        if present {
            text.push('+');
            text.push_str(name);
        }
    }
    text
}

macro_rules! detected {
    ($detect:ident, $($name:tt)*) => {
        vec![$(($name, std::arch::$detect!($name))),*]
    };
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    detected!(is_x86_feature_detected,
        "sse3" "ssse3" "sse4.1" "sse4.2" "cmpxchg16b" "popcnt" "avx" "avx2" "fma" "bmi1" "bmi2" "lzcnt"
        "avx512bitalg" "avx512dq" "avx512f" "avx512vl" "avx512vbmi")
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    detected!(is_aarch64_feature_detected, "lse" "paca" "fp16")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}
