//! martello-trust
