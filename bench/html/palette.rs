//! Colours of charts, and how the page changes them after dark.
//!
//! Why through CSS attribute selectors: the SVG writes plain colours as attributes, which any rule of the page overrides;
//! so one drawing serves light and dark, and still looks right when somebody cuts it out of the page.
//!
//! Invariants:
//! - Every colour that a chart uses stands here, once for light and once for dark, told apart at either.

use plotters::style::RGBColor;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x33, 0x3b, 0x45);
/// Lines behind the data.
pub(super) const GRID: RGBColor = RGBColor(0xe2, 0xe6, 0xea);

/// Light and dark form of each colour for data, in the order of use.
const SERIES: [(RGBColor, RGBColor); 6] = [
    (RGBColor(0x1f, 0x6f, 0xd1), RGBColor(0x6c, 0xb0, 0xff)),
    (RGBColor(0xd9, 0x5f, 0x02), RGBColor(0xff, 0xa2, 0x57)),
    (RGBColor(0x1b, 0x8a, 0x5a), RGBColor(0x5a, 0xd1, 0x9b)),
    (RGBColor(0x8e, 0x44, 0xad), RGBColor(0xce, 0x93, 0xe6)),
    (RGBColor(0xb8, 0x86, 0x0b), RGBColor(0xe6, 0xc4, 0x5c)),
    (RGBColor(0x6b, 0x75, 0x80), RGBColor(0xa3, 0xad, 0xb8)),
];
const INK_DARK: RGBColor = RGBColor(0xc3, 0xcb, 0xd4);
const GRID_DARK: RGBColor = RGBColor(0x2c, 0x34, 0x3d);

/// The colour of series `place`; after the last one they begin again.
pub(super) fn of_series(place: usize) -> RGBColor {
    SERIES[place % SERIES.len()].0
}

/// A colour as SVG writes it.
pub(super) fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Rules that exchange the light colours for the dark ones.
pub(super) fn after_dark() -> String {
    let pairs = SERIES.into_iter().chain([(INK, INK_DARK), (GRID, GRID_DARK)]);
    pairs
        .map(|(light, dark)| {
            let (light, dark) = (hex(light), hex(dark));
            format!("svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}")
        })
        .collect()
}
