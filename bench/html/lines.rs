//! Curves: something over time, over a rate, over cores.
//!
//! Why the legend is not in the drawing: as text of the page it wraps, can be read aloud, and never hides a point.
//!
//! Invariants:
//! - A chart without a single finite point is drawn as an empty frame, not refused: a short run has short series.
//! - Linear axes for amounts begin at zero, so that a curve's height can be compared by eye.

use plotters::coord::combinators::{BindKeyPoints, LogCoord, WithKeyPoints};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::{
    ChartBuilder, Circle, DashedLineSeries, DrawingArea, EmptyElement, IntoDrawingArea, IntoLogRange,
    LineSeries, PathElement, Polygon, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoTextStyle, ShapeStyle, TextStyle};

use super::figure::compact;
use super::palette;

const SIZE: (u32, u32) = (560, 320);
const FONT_PIXELS: f64 = 12.0;

/// How an axis divides its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scale {
    /// Equal steps; begins at zero.
    Linear,
    /// Equal factors; values of zero or less are left out.
    Logarithmic,
}

/// One axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Axis {
    /// What is measured, with its unit: "latency, us".
    pub(crate) name: String,
    /// How it divides its length.
    pub(crate) scale: Scale,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trace {
    /// A line through the points.
    Line,
    /// A broken line: a model, not a measurement.
    Dashes,
    /// Dots only: single measurements.
    Dots,
}

/// One curve.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Series {
    /// Its name in the legend.
    pub(crate) name: String,
    /// How it is drawn.
    pub(crate) trace: Trace,
    /// Its points, in the units of the axes.
    pub(crate) points: Vec<(f64, f64)>,
}

/// The room between two curves: an interval.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Band {
    /// Its name in the legend.
    pub(crate) name: String,
    /// Place, lower end, upper end.
    pub(crate) points: Vec<(f64, f64, f64)>,
}

/// A vertical line at one place, with a word beside it: a limit, a question.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Mark {
    /// The word.
    pub(crate) name: String,
    /// The place on the horizontal axis.
    pub(crate) at: f64,
}

/// A chart of curves.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Lines {
    /// What it shows.
    pub(crate) title: String,
    /// Horizontal.
    pub(crate) x: Axis,
    /// Vertical.
    pub(crate) y: Axis,
    /// The curves.
    pub(crate) series: Vec<Series>,
    /// Intervals behind the curves; they take their colours after the series.
    pub(crate) bands: Vec<Band>,
    /// Places to point out.
    pub(crate) marks: Vec<Mark>,
}

impl Axis {
    /// An axis of equal steps.
    pub(crate) fn linear(name: impl Into<String>) -> Self {
        Self { name: name.into(), scale: Scale::Linear }
    }

    /// An axis of equal factors.
    pub(crate) fn logarithmic(name: impl Into<String>) -> Self {
        Self { name: name.into(), scale: Scale::Logarithmic }
    }

    fn admits(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    /// The range that shows all of `values` with a little room.
    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let (least, most) = values
            .filter(|&value| self.admits(value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
                (least.min(value), most.max(value))
            });
        match self.scale {
            _ if least > most => (if self.scale == Scale::Linear { 0.0 } else { 0.1 }, 1.0),
            Scale::Linear => {
                let most = if most > least.min(0.0) { most } else { least.min(0.0) + 1.0 };
                (least.min(0.0), most + (most - least.min(0.0)) * 0.06)
            }
            Scale::Logarithmic => (least / 1.25, most * 1.25),
        }
    }
}

impl Series {
    /// A line through `points`.
    pub(crate) fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), trace: Trace::Line, points }
    }

    /// Dots at `points`.
    pub(crate) fn dots(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), trace: Trace::Dots, points }
    }

    /// A broken line through `points`.
    pub(crate) fn dashes(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), trace: Trace::Dashes, points }
    }
}

impl Lines {
    /// A chart without intervals and marks.
    pub(crate) fn new(title: impl Into<String>, x: Axis, y: Axis, series: Vec<Series>) -> Self {
        Self { title: title.into(), x, y, series, bands: vec![], marks: vec![] }
    }

    /// Names and colours for the legend, in order.
    pub(super) fn legend(&self) -> Vec<(&str, String)> {
        let names = self.series.iter().map(|series| series.name.as_str());
        let names = names.chain(self.bands.iter().map(|band| band.name.as_str()));
        names.enumerate().map(|(place, name)| (name, palette::hex(palette::of_series(place)))).collect()
    }

    /// The drawing.
    pub(super) fn svg(&self) -> String {
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let points = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let ends = || self.bands.iter().flat_map(|band| band.points.iter().copied());
        let marked = self.marks.iter().map(|mark| mark.at);
        let (left, right) =
            self.x.range(points().map(|(x, _)| x).chain(ends().map(|(x, ..)| x)).chain(marked));
        let (low, high) =
            self.y.range(points().map(|(_, y)| y).chain(ends().flat_map(|(_, low, high)| [low, high])));
        match (self.x.scale, self.y.scale) {
            (Scale::Linear, Scale::Linear) => self.draw(&area, left..right, low..high, low),
            (Scale::Linear, Scale::Logarithmic) => self.draw(&area, left..right, decades(low, high), low),
            (Scale::Logarithmic, Scale::Linear) => self.draw(&area, decades(left, right), low..high, low),
            (Scale::Logarithmic, Scale::Logarithmic) => {
                self.draw(&area, decades(left, right), decades(low, high), low);
            }
        }
        drop(area);
        text
    }

    fn draw<X, Y>(&self, area: &Area<'_>, x: X, y: Y, floor: f64)
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        const IN_MEMORY: &str = "drawing into a text cannot fail";
        let mut builder = ChartBuilder::on(area);
        builder.margin(6).margin_right(14).x_label_area_size(42).y_label_area_size(58);
        let mut chart = builder.build_cartesian_2d(x, y).expect(IN_MEMORY);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().bold_line_style(palette::GRID).light_line_style(palette::GRID.mix(0.0));
        mesh.axis_style(palette::INK.mix(0.5)).label_style(words()).axis_desc_style(words());
        mesh.x_labels(8).y_labels(6).x_desc(&self.x.name).y_desc(&self.y.name);
        let shown = |value: &f64| compact(*value);
        mesh.x_label_formatter(&shown).y_label_formatter(&shown).draw().expect(IN_MEMORY);
        for (place, band) in self.bands.iter().enumerate() {
            let colour = palette::of_series(self.series.len() + place);
            let there = band
                .points
                .iter()
                .filter(|(x, low, high)| self.x.admits(*x) && self.y.admits(*low) && self.y.admits(*high));
            let upper = there.clone().map(|&(x, _, high)| (x, high));
            let outline: Vec<_> = upper.chain(there.rev().map(|&(x, low, _)| (x, low))).collect();
            chart.draw_series([Polygon::new(outline, colour.mix(0.18))]).expect(IN_MEMORY);
        }
        for (place, series) in self.series.iter().enumerate() {
            let colour = palette::of_series(place);
            let line = ShapeStyle { color: colour.to_rgba(), filled: true, stroke_width: 2 };
            let there: Vec<_> = series.points.iter().copied().filter(|&(x, y)| self.admits(x, y)).collect();
            let drawn = match series.trace {
                Trace::Line => chart.draw_series(LineSeries::new(there, line)),
                Trace::Dashes => chart.draw_series(DashedLineSeries::new(there, 5, 4, line)),
                Trace::Dots => chart.draw_series(there.into_iter().map(|point| Circle::new(point, 4, line))),
            };
            drawn.expect(IN_MEMORY);
        }
        let (_, height) = chart.plotting_area().dim_in_pixel();
        let half = i32::try_from(SIZE.0 / 2).expect("a small drawing");
        for mark in self.marks.iter().filter(|mark| self.x.admits(mark.at)) {
            let top = -i32::try_from(height).expect("a small drawing");
            // The word stands on the side that has room for it.
            let (at, _) = chart.plotting_area().map_coordinate(&(mark.at, floor));
            let (pixels, side) = if at > half { (-5, HPos::Right) } else { (5, HPos::Left) };
            let word =
                Text::new(mark.name.clone(), (pixels, top + 4), words().pos(Pos::new(side, VPos::Top)));
            let line = PathElement::new([(0, 0), (0, top)], palette::INK.mix(0.6));
            let element = EmptyElement::at((mark.at, floor)) + line + word;
            chart.draw_series([element]).expect(IN_MEMORY);
        }
        area.present().expect(IN_MEMORY);
    }

    fn admits(&self, x: f64, y: f64) -> bool {
        self.x.admits(x) && self.y.admits(y)
    }
}

/// A logarithmic axis with its figures at 1, 2 and 5 of each power of ten, or at the powers alone when there are many.
fn decades(low: f64, high: f64) -> WithKeyPoints<LogCoord<f64>> {
    let steps: &[f64] = if high / low > 3e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = std::iter::successors(Some(10_f64.powf(low.log10().floor())), |power| Some(power * 10.0));
    let points = powers
        .take_while(|power| *power <= high)
        .flat_map(|power| steps.iter().map(move |step| power * step));
    let within = points.filter(|point| (low..=high).contains(point)).collect();
    BindKeyPoints::with_key_points((low..high).log_scale(), within)
}

/// A drawing that becomes text.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// How words in a drawing look.
pub(super) fn words() -> TextStyle<'static> {
    ("sans-serif", FONT_PIXELS, FontStyle::Normal, &palette::INK).into_text_style(&SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(y: Axis, points: Vec<(f64, f64)>) -> String {
        Lines::new("t", Axis::linear("time, s"), y, vec![Series::line("a", points)]).svg()
    }

    #[test]
    fn a_curve_is_one_line_through_its_points_with_named_axes() {
        let svg = chart(Axis::linear("rate, 1/s"), vec![(0.0, 10.0), (1.0, 20.0), (2.0, 15.0)]);
        assert!(svg.contains("time, s") && svg.contains("rate, 1/s"), "{svg}");
        let line = svg.lines().find(|line| line.contains("<polyline") && line.contains("#1F6FD1"));
        let points = line.and_then(|line| line.split("points=\"").nth(1)).expect("the line is there");
        assert_eq!(points.split('"').next().map(|points| points.trim().split(' ').count()), Some(3));
    }

    #[test]
    fn an_empty_series_still_has_a_frame_and_infinities_are_left_out() {
        assert!(chart(Axis::linear("y"), vec![]).contains("<svg"));
        let with = chart(Axis::logarithmic("y"), vec![(0.0, 1.0), (1.0, 0.0), (2.0, f64::NAN), (3.0, 5.0)]);
        let without = chart(Axis::logarithmic("y"), vec![(0.0, 1.0), (3.0, 5.0)]);
        assert_eq!(with, without);
    }

    #[test]
    fn linear_axes_begin_at_zero_and_logarithmic_ones_do_not() {
        assert!(Axis::linear("y").range([50.0, 60.0].into_iter()).0.abs() < f64::EPSILON);
        assert!(Axis::logarithmic("y").range([50.0, 60.0].into_iter()).0 > 30.0);
        let (low, high) = Axis::linear("y").range([0.0].into_iter());
        assert!(low < high, "a flat curve has room too");
        let (_, high) = Axis::logarithmic("y").range([1.0, f64::INFINITY].into_iter());
        assert!(high.is_finite(), "what has no end is left out");
    }

    #[test]
    fn marks_and_bands_have_words() {
        let mut lines = Lines::new("t", Axis::linear("x"), Axis::linear("y"), vec![]);
        lines.marks.push(Mark { name: "asked for".into(), at: 3.0 });
        lines.bands.push(Band { name: "90 %".into(), points: vec![(0.0, 1.0, 2.0), (4.0, 2.0, 5.0)] });
        assert!(lines.svg().contains("asked for"));
        assert_eq!(lines.legend().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["90 %"]);
    }
}
