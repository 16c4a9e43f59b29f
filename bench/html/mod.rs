//! Reports as one self-contained HTML page: figures, tables, and charts as inline SVG.
//!
//! Why plain structures as input: a run, a comparison and a capacity plan have different figures but want the same
//! looks, and the page must not know where a series of points came from.
//!
//! Invariants:
//! - A page refers to nothing outside itself: no script, no font, no image.
//! - Every text that comes in is escaped.

mod bars;
mod figure;
mod lines;
mod page;
mod palette;
mod sheet;

pub(crate) use bars::{Bar, Bars};
pub(crate) use figure::compact;
pub(crate) use lines::{Axis, Band, Lines, Mark, Series};
pub(crate) use page::{Block, Page, Table, Tile};
pub(crate) use sheet::sheet_page;
