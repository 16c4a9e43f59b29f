//! x
use crate::{failure::Failure, options::CompareOptions};
pub(crate) fn compare(_: &CompareOptions) -> Result<(), Failure> { Ok(()) }
