//! What was found to stand behind a request: plain data, without the network that found it.

mod pin;
mod request;

pub use pin::{ImageFacts, Pin, Verified};
pub use request::{Location, PayloadRequest};
