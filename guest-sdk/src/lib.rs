//! martello-guest-sdk
