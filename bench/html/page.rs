//! The page: a title, what was asked, sections of tiles, charts, tables and notes, and the facts of the machine.
//!
//! Why sections of blocks: whoever reports decides the order in which a reader should meet the figures.
//!
//! Invariants:
//! - Charts that follow one another stand side by side where there is room.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::bars::Bars;
use super::lines::Lines;
use super::palette;
use crate::failure::Failure;

/// A whole page.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Page {
    /// The title.
    pub(crate) title: String,
    /// One or two sentences below it.
    pub(crate) lead: String,
    /// The command that made it.
    pub(crate) command: String,
    /// Names and values of what must be known about the machine.
    pub(crate) facts: Vec<(String, String)>,
    /// The sections, in order.
    pub(crate) sections: Vec<Section>,
}

/// A part of the page with a heading.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Section {
    /// The heading.
    pub(crate) title: String,
    /// What stands below it.
    pub(crate) blocks: Vec<Block>,
}

/// One thing in a section.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Block {
    /// Headline figures.
    Tiles(Vec<Tile>),
    /// A paragraph.
    Text(String),
    /// What a reader must know before believing the figures; nothing is shown for none.
    Notes(Vec<String>),
    /// A table.
    Table(Table),
    /// Curves.
    Lines(Lines),
    /// Bars.
    Bars(Bars),
}

/// One headline figure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tile {
    /// What it is.
    pub(crate) name: String,
    /// The figure with its unit.
    pub(crate) value: String,
    /// A word on it.
    pub(crate) detail: String,
}

/// A table; columns of figures are set to the right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    /// What it shows; may be empty.
    pub(crate) caption: String,
    /// Names of the columns.
    pub(crate) head: Vec<String>,
    /// The rows.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Page {
    /// A page without sections; the command is the one that this process was started with.
    pub(crate) fn new(
        title: impl Into<String>,
        lead: impl Into<String>,
        facts: Vec<(String, String)>,
    ) -> Self {
        Self { title: title.into(), lead: lead.into(), command: own_command(), facts, sections: vec![] }
    }

    /// Adds a section at the end.
    pub(crate) fn section(&mut self, title: impl Into<String>, blocks: Vec<Block>) {
        self.sections.push(Section { title: title.into(), blocks });
    }

    /// Writes the page to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        std::fs::write(path, self.text())
            .map_err(|source| Failure::os(format!("writing {}", path.display()), source))
    }

    /// The page as text.
    pub(crate) fn text(&self) -> String {
        let style = format!(
            "{}@media (prefers-color-scheme: dark){{{}}}",
            include_str!("page.css"),
            palette::after_dark()
        );
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(style)) }
                }
                body {
                    h1 { (self.title) }
                    p.lead { (self.lead) }
                    pre { (self.command) }
                    @for section in &self.sections {
                        section {
                            h2 { (section.title) }
                            @for blocks in section.blocks.chunk_by(|one, next| one.is_chart() && next.is_chart()) {
                                (together(blocks))
                            }
                        }
                    }
                    @if !self.facts.is_empty() {
                        h2 { "Machine" }
                        dl.facts { @for (name, value) in &self.facts { dt { (name) } dd { (value) } } }
                    }
                }
            }
        }
        .into_string()
    }
}

impl Block {
    fn is_chart(&self) -> bool {
        matches!(self, Self::Lines(_) | Self::Bars(_))
    }

    fn markup(&self) -> Markup {
        match self {
            Self::Tiles(tiles) => html! {
                div.tiles { @for tile in tiles {
                    div.tile {
                        div.name { (tile.name) }
                        div.value { (tile.value) }
                        div.detail { (tile.detail) }
                    }
                } }
            },
            Self::Text(text) => html! { p { (text) } },
            Self::Notes(notes) => html! {
                @if !notes.is_empty() { ul.notes { @for note in notes { li { (note) } } } }
            },
            Self::Table(table) => table.markup(),
            Self::Lines(lines) => html! {
                figure {
                    figcaption { (lines.title) }
                    (PreEscaped(lines.svg()))
                    ul.legend { @for (name, colour) in lines.legend() {
                        li { svg viewBox="0 0 11 11" { rect width="11" height="11" rx="2" fill=(colour) {} } (name) }
                    } }
                }
            },
            Self::Bars(bars) => html! { figure { figcaption { (bars.title) } (PreEscaped(bars.svg())) } },
        }
    }
}

fn together(blocks: &[Block]) -> Markup {
    let inner = html! { @for block in blocks { (block.markup()) } };
    match blocks {
        [first, ..] if first.is_chart() => html! { div.charts { (inner) } },
        _ => inner, // Everything else stands one below the other.
    }
}

impl Tile {
    /// A figure with a word on it.
    pub(crate) fn new(name: impl Into<String>, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), detail: detail.into() }
    }
}

impl Table {
    /// A table of `head` without rows.
    pub(crate) fn new(caption: impl Into<String>, head: &[&str]) -> Self {
        let head = head.iter().map(|&name| name.to_owned()).collect();
        Self { caption: caption.into(), head, rows: vec![] }
    }

    fn markup(&self) -> Markup {
        let class = |place: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(place)).peekable();
            let is_column_of_figures =
                cells.peek().is_some() && cells.all(|cell| is_number(cell) || cell == "unknown");
            if is_column_of_figures { "number" } else { "" }
        };
        html! {
            div.table { table {
                @if !self.caption.is_empty() { caption { (self.caption) } }
                thead { tr { @for (place, name) in self.head.iter().enumerate() {
                    th class=(class(place)) { (name) }
                } } }
                tbody { @for row in &self.rows {
                    tr { @for (place, cell) in row.iter().enumerate() { td class=(class(place)) { (cell) } } }
                } }
            } }
        }
    }
}

/// The longest figure with its interval.
const FIGURE_BYTES_MAX: usize = 34;

fn is_number(cell: &str) -> bool {
    let mut signs = cell.chars().skip_while(|sign| "-+<>~".contains(*sign));
    // A sentence may begin with a figure too.
    cell.len() <= FIGURE_BYTES_MAX && signs.next().is_some_and(|sign| sign.is_ascii_digit())
}

fn own_command() -> String {
    let quoted = |word: String| {
        let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_=./:,%+@".contains(sign);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let words = std::env::args().enumerate().map(|(place, word)| match place {
        0 => "ringmq-bench".to_owned(),
        _ => quoted(word), // Options as a shell would take them again.
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::{Axis, Series};

    fn page() -> Page {
        let lines = Lines::new(
            "Rate",
            Axis::linear("time, s"),
            Axis::linear("messages/s"),
            vec![Series::line("in <b>", vec![(0.0, 1.0), (1.0, 2.0)])],
        );
        let mut table = Table::new("Costs", &["kind", "ns"]);
        table.rows.push(vec!["publish".into(), "123".into()]);
        table.rows.push(vec!["3 deliveries".into(), "456".into()]);
        let mut page = Page::new("A & B", "lead", vec![("kernel".into(), "6.1".into())]);
        page.section(
            "First",
            vec![
                Block::Tiles(vec![Tile::new("rate", "5/s", "ok")]),
                Block::Lines(lines.clone()),
                Block::Lines(lines),
                Block::Notes(vec![]),
                Block::Table(table),
            ],
        );
        page
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let text = page().text();
        for outside in ["<script", "<link", "<img", "url(", "@import", "src="] {
            assert!(!text.contains(outside), "{outside}");
        }
        let addresses = text.matches("http").count() - text.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(addresses, 0, "only the name of SVG looks like an address");
    }

    #[test]
    fn texts_are_escaped_and_facts_are_shown() {
        let text = page().text();
        assert!(text.contains("A &amp; B") && !text.contains("A & B") && text.contains("in &lt;b&gt;"));
        assert!(text.contains("<dt>kernel</dt><dd>6.1</dd>"));
        assert!(text.contains("<td class=\"number\">123</td>"));
        assert!(text.contains("<td class=\"\">3 deliveries</td>"), "a column of words stays one");
        assert!(!text.contains("class=\"notes\""), "no notes, no box");
        assert!(!is_number("247 B on the wire per message in, with all headers"), "a sentence is no figure");
    }

    #[test]
    fn neighbouring_charts_share_a_row() {
        let text = page().text();
        assert_eq!((text.matches("class=\"charts\"").count(), text.matches("<figure>").count()), (1, 2));
    }
}
