//! States of a few images while recover and match work on them: which, taking them, and showing them to TensorBoard.

pub mod choice;
mod pictures;
mod recorder;

pub(crate) use pictures::tell_pictures;
pub(crate) use recorder::{Recorder, taken_of};
