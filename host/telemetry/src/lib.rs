//! martello-telemetry
