//! `wasi:config` and `wasi:logging` as they come, for guests of every world. Each guest takes this file in by itself,
//! because a library would bring the stage world along.

wit_bindgen::generate!({
    inline: "
        package guests:standard;
        world standard {
            import wasi:config/store@0.2.0-rc.1;
            import wasi:logging/logging@0.1.0-draft;
        }
    ",
    path: ["../../wit/deps/wasi-config", "../../wit/deps/wasi-logging"],
    world: "guests:standard/standard",
    generate_all,
});

pub use wasi::config::store;
pub use wasi::logging::logging::{Level, log};

/// All settings as one text, in order.
pub fn settings() -> String {
    let mut all = store::get_all().unwrap();
    all.sort();
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// A line of each level, then, where the setting `flood` says so, so many more.
pub fn speak() {
    for (level, text) in [
        (Level::Trace, "trace"),
        (Level::Debug, "debug"),
        (Level::Info, "info"),
        (Level::Warn, "warn"),
        (Level::Error, "error"),
        (Level::Critical, "critical"),
    ] {
        log(level, "standard", text);
    }
    let flood = store::get("flood").unwrap().map_or(0, |count| count.parse().unwrap());
    let long = "x".repeat(100_000);
    for _ in 0..flood {
        log(Level::Error, &long, &long);
        log(Level::Error, "", "");
    }
}
