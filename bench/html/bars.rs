//! Bars with ranges: one figure of several contestants.
//!
//! Why lying: names are words, and words lie.
//!
//! Invariants:
//! - Bars begin at zero; the thin line over a bar goes from the least to the most that was measured.

use plotters::prelude::{ChartBuilder, IntoDrawingArea, PathElement, Rectangle, SVGBackend, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, RGBColor};

use super::figure::compact;
use super::lines::words;
use super::palette;

const WIDTH: u32 = 560;
const ROW_PIXELS: u32 = 30;
const AXIS_PIXELS: u32 = 44;
const NAMES_PIXELS: u32 = 150;
/// Room behind the longest bar for its figure.
const ROOM: f64 = 1.22;

/// One bar.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Bar {
    /// Whose figure it is.
    pub(crate) name: String,
    /// The figure.
    pub(crate) value: f64,
    /// Least and most that was measured, if there was more than one measurement.
    pub(crate) range: Option<(f64, f64)>,
    /// Whether it is the one that the reader looks for.
    pub(crate) is_ours: bool,
}

/// A chart of bars.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Bars {
    /// What it shows.
    pub(crate) title: String,
    /// What is measured, with its unit.
    pub(crate) axis: String,
    /// The bars, from the top.
    pub(crate) bars: Vec<Bar>,
}

impl Bars {
    /// The drawing.
    pub(super) fn svg(&self) -> String {
        const IN_MEMORY: &str = "drawing into a text cannot fail";
        let mut text = String::new();
        let count = u32::try_from(self.bars.len()).expect("few bars").max(1);
        let area =
            SVGBackend::with_string(&mut text, (WIDTH, AXIS_PIXELS + ROW_PIXELS * count)).into_drawing_area();
        let ends = self.bars.iter().flat_map(|bar| [bar.value, bar.range.map_or(0.0, |(_, most)| most)]);
        let most = ends.filter(|end| end.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most * ROOM } else { 1.0 };
        let mut builder = ChartBuilder::on(&area);
        builder.margin_right(10).x_label_area_size(AXIS_PIXELS).y_label_area_size(NAMES_PIXELS);
        let rows = f64::from(count);
        let mut chart = builder.build_cartesian_2d(0.0..most, rows..0.0).expect(IN_MEMORY);
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().y_labels(0).bold_line_style(palette::GRID);
        mesh.light_line_style(palette::GRID.mix(0.0)).axis_style(palette::INK.mix(0.5)).label_style(words());
        mesh.axis_desc_style(words()).x_labels(6).x_desc(&self.axis);
        mesh.x_label_formatter(&|value| compact(*value)).draw().expect(IN_MEMORY);
        let mut top = 0.0;
        for bar in &self.bars {
            let style = colour(bar).mix(0.85).filled();
            chart
                .draw_series([Rectangle::new([(0.0, top + 0.2), (bar.value, top + 0.8)], style)])
                .expect(IN_MEMORY);
            if let Some((least, most)) = bar.range {
                let line =
                    PathElement::new([(least, top + 0.5), (most, top + 0.5)], palette::INK.stroke_width(2));
                chart.draw_series([line]).expect(IN_MEMORY);
            }
            let end = bar.range.map_or(bar.value, |(_, most)| most.max(bar.value));
            let label = |words: String, at: (f64, f64), pixels: i32, side: HPos| {
                let (x, y) = chart.backend_coord(&at);
                Text::new(words, (x + pixels, y), self::words().pos(Pos::new(side, VPos::Center)))
            };
            area.draw(&label(bar.name.clone(), (0.0, top + 0.5), -8, HPos::Right)).expect(IN_MEMORY);
            area.draw(&label(compact(bar.value), (end, top + 0.5), 6, HPos::Left)).expect(IN_MEMORY);
            top += 1.0;
        }
        area.present().expect(IN_MEMORY);
        drop(chart);
        drop(area);
        text
    }
}

fn colour(bar: &Bar) -> RGBColor {
    palette::of_series(if bar.is_ours { 0 } else { 5 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_has_its_name_its_figure_and_its_range() {
        let bar = |name: &str, value, range| Bar { name: name.into(), value, range, is_ours: false };
        let bars = Bars {
            title: "t".into(),
            axis: "us".into(),
            bars: vec![bar("one", 250.0, Some((200.0, 300.0))), bar("two", 1_500.0, None)],
        };
        let svg = bars.svg();
        for word in ["one", "two", "250", "1.5k", "us"] {
            assert!(svg.contains(&format!("\n{word}\n")), "{word} is missing in {svg}");
        }
        assert_eq!(svg.matches("fill=\"#6B7580\"").count(), 2, "one rectangle per bar: {svg}");
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 1, "one range: {svg}");
    }
}
