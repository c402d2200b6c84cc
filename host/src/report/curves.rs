//! Line charts as SVG: losses and accuracies over steps.
//!
//! A chart is a complete file; inside the HTML report a style sheet recolours its text, grid and ground by the
//! attributes set here ([`INK`], [`GRID`], white), so that it follows the reader's dark mode.

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{BoldPoints, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    axis::{linear, logarithmic, tick_text},
    curve::Curve,
};

/// Colour of text and axes.
pub const INK: RGBColor = RGBColor(0x3d, 0x44, 0x4d);
/// Colour of grid lines.
pub const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);

/// Okabe and Ito's colours, which colour-blind readers can tell apart, without their yellow (too light on white).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x7f, 0x7f, 0x7f),
];

/// The SVG backend has whole coordinates only: it draws at three times the shown size, so that lines stay smooth.
const SCALE: i32 = 3;
const WIDTH: i32 = 600 * SCALE;
const PLOT_HEIGHT: i32 = 320 * SCALE;
const MARGIN: i32 = 14 * SCALE;
const TITLE_HEIGHT: i32 = 30 * SCALE;
const LEGEND_LINE: i32 = 22 * SCALE;
const SWATCH: i32 = 18 * SCALE;
const TEXT_PX: i32 = 14 * SCALE;
const TITLE_PX: i32 = 17 * SCALE;

/// How much of the ground a band covers.
const BAND_OPACITY: f64 = 0.18;

/// The most labels of an axis.
const X_LABELS: usize = 8;
const Y_LABELS: usize = 6;

/// The labels around the curves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChartOptions<'a> {
    /// Heading of the chart, which may be empty.
    pub title: &'a str,
    /// Name of the horizontal axis.
    pub x_label: &'a str,
    /// Name of the vertical axis.
    pub y_label: &'a str,
    /// Logarithmic vertical axis; points with y <= 0 are left out.
    pub log_y: bool,
}

/// Draws the curves as one SVG document; `None` if no point is left to draw.
///
/// # Errors
/// Fails when the drawing library does, which no input is known to cause.
pub fn line_chart(curves: &[Curve], options: &ChartOptions) -> Result<Option<String>> {
    let drawn: Vec<Curve> = curves
        .iter()
        .map(|curve| Curve {
            name: label(&curve.name),
            ..curve.drawable(options.log_y)
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    if drawn.is_empty() {
        return Ok(None);
    }
    let legend = legend_places(&drawn);
    let legend_height = legend
        .last()
        .map_or(0, |&(_, line)| (line + 1) * LEGEND_LINE);
    let title_height = if options.title.is_empty() {
        0
    } else {
        TITLE_HEIGHT
    };
    let top = MARGIN + title_height + legend_height;
    let height = top + PLOT_HEIGHT;

    let mut svg = String::new();
    {
        let root =
            SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
        draw(&root, &drawn, &legend, top, options).context("line chart")?;
    }
    let drawn_size = format!("width=\"{WIDTH}\" height=\"{height}\"");
    let shown_size = format!("width=\"{}\" height=\"{}\"", WIDTH / SCALE, height / SCALE);
    Ok(Some(svg.replacen(&drawn_size, &shown_size, 1)))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw(
    root: &Area,
    curves: &[Curve],
    legend: &[(i32, i32)],
    top: i32,
    options: &ChartOptions,
) -> Result<()> {
    let text = text_style();
    root.fill(&WHITE)?;
    if !options.title.is_empty() {
        let title = ("sans-serif", f64::from(TITLE_PX) * 1.24, FontStyle::Bold)
            .into_font()
            .color(&INK);
        root.draw_text(&label(options.title), &title, (MARGIN, MARGIN))?;
    }
    for ((idx, curve), &(x, line)) in curves.iter().enumerate().zip(legend) {
        let y = top - (legend.last().map_or(0, |last| last.1) - line + 1) * LEGEND_LINE
            + LEGEND_LINE / 3;
        let swatch = [(x, y), (x + SWATCH, y)];
        root.draw(&PathElement::new(
            swatch,
            colour(idx).stroke_width(3 * SCALE as u32),
        ))?;
        let beside = text.clone().pos(Pos::new(HPos::Left, VPos::Center));
        root.draw_text(&curve.name, &beside, (x + SWATCH + 6 * SCALE, y))?;
    }

    let values = || curves.iter().flat_map(Curve::values);
    let (_, area) = root.split_vertically(top);
    match options.log_y {
        true => plot(&area, curves, options, logarithmic(values()))?,
        false => plot(&area, curves, options, linear(values(), 0.05))?,
    }
    root.present()?;
    Ok(())
}

/// Draws the axes and the curves.
fn plot<Y>(area: &Area, curves: &[Curve], options: &ChartOptions, y_axis: Y) -> Result<()>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let steps = curves.iter().flat_map(|curve| &curve.points).map(|p| p.0);
    // Those that are labelled: a logarithmic axis has no others.
    let values = y_axis.key_points(BoldPoints(Y_LABELS)).into_iter();
    let longest = values.map(|y| tick_text(y).len()).max().unwrap_or(0) as i32;
    let text = text_style();
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .margin_top(6 * SCALE)
        .margin_bottom(0)
        .margin_right(22 * SCALE)
        .x_label_area_size(52 * SCALE)
        .y_label_area_size(32 * SCALE + longest * TEXT_PX * 6 / 10)
        .build_cartesian_2d(linear(steps, 0.), y_axis)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_labels(X_LABELS)
        .y_labels(Y_LABELS)
        .bold_line_style(GRID.stroke_width(SCALE as u32))
        .axis_style(INK.stroke_width(SCALE as u32))
        .set_all_tick_mark_size(6 * SCALE)
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(label(options.x_label))
        .y_desc(label(options.y_label))
        .x_label_formatter(&|x| tick_text(*x))
        .y_label_formatter(&|y| tick_text(*y))
        .draw()?;
    // Bands lie below all lines.
    for (idx, curve) in curves.iter().enumerate() {
        let area = colour(idx).mix(BAND_OPACITY).filled();
        let outline = curve.outline();
        chart.draw_series((outline.len() > 2).then(|| Polygon::new(outline, area)))?;
    }
    for (idx, curve) in curves.iter().enumerate() {
        let points = curve.points.iter().copied();
        if curve.points.len() == 1 {
            chart.draw_series(points.map(|p| Circle::new(p, 4 * SCALE, colour(idx).filled())))?;
        } else {
            chart.draw_series(LineSeries::new(
                points,
                colour(idx).stroke_width(2 * SCALE as u32),
            ))?;
        }
    }
    Ok(())
}

fn text_style() -> TextStyle<'static> {
    ("sans-serif", f64::from(TEXT_PX) * 1.24)
        .into_font()
        .color(&INK)
}

fn colour(idx: usize) -> RGBColor {
    COLOURS[idx % COLOURS.len()]
}

/// Names are the user's: control characters are not allowed in XML, and a long name would leave the chart.
fn label(name: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut shown: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CHARS + 1)
        .collect();
    if let Some((cut, _)) = shown.char_indices().nth(MAX_CHARS) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

/// Left edge and line of each legend entry, in lines from the left edge; nothing measures text, so widths are estimates.
fn legend_places(curves: &[Curve]) -> Vec<(i32, i32)> {
    let (mut x, mut line) = (MARGIN, 0);
    let mut places = Vec::with_capacity(curves.len());
    for curve in curves {
        // Wide letters take 0.62 em on average in the sans-serif fonts of browsers.
        let width = SWATCH + 24 * SCALE + curve.name.chars().count() as i32 * TEXT_PX * 62 / 100;
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, line) = (MARGIN, line + 1);
        }
        places.push((x, line));
        x += width;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, points: &[(f64, f64)]) -> Curve {
        Curve {
            name: name.into(),
            points: points.to_vec(),
            band: Vec::new(),
        }
    }

    #[test]
    fn seeds_are_a_band_below_their_mean() {
        let seeds = [[(0., 10.), (1., 30.)], [(0., 20.), (1., 90.)]].map(|points| points.to_vec());
        let svg = line_chart(&[Curve::over("net", &seeds)], &ChartOptions::default());
        let svg = svg.unwrap().unwrap();
        let polygon = svg.find("<polygon").expect("a band");
        let line = svg.rfind("<polyline").expect("a line");
        assert!(polygon < line, "the band is drawn first");
        assert!(svg[polygon..].contains("fill=\"#0072B2\"") && svg.contains("opacity=\"0.18\""));
        assert!(
            svg.contains(">\n80\n</text>"),
            "the axis has room for the band: {svg}"
        );
        let one = line_chart(&[curve("one", &seeds[0])], &ChartOptions::default());
        assert!(!one.unwrap().unwrap().contains("<polygon"));
    }

    #[test]
    fn draws_a_line_for_each_curve_with_legend_and_axes() {
        let curves = [
            curve("cross-entropy", &[(0., 2.3), (1., f64::NAN), (2., 0.5)]),
            curve("<bn & stats>", &[(0., 40.), (f64::INFINITY, 3.), (2., 4.)]),
            curve("never finite", &[(0., f64::NAN)]),
        ];
        let options = ChartOptions {
            title: "Recover",
            x_label: "iteration",
            y_label: "loss",
            log_y: true,
        };
        let svg = line_chart(&curves, &options).unwrap().unwrap();
        assert_eq!(
            svg.matches("stroke=\"#0072B2\"").count(),
            2,
            "a line and its swatch"
        );
        assert_eq!(svg.matches("stroke=\"#D55E00\"").count(), 2);
        for text in [
            "Recover",
            "iteration",
            "loss",
            "cross-entropy",
            "&lt;bn &amp; stats&gt;",
        ] {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}");
        }
        assert!(!svg.contains("never finite") && !svg.contains("NaN"));
        assert!(svg.starts_with("<svg width=\"600\""), "{}", &svg[..80]);
        assert!(svg.ends_with("</svg>\n"));
    }

    /// The first coordinate of a text.
    fn x_of(svg: &str, text: &str) -> i32 {
        let before = svg.split(&format!(">\n{text}\n</text>")).next();
        let x = before.and_then(|before| before.rsplit("<text x=\"").next());
        let x = x.and_then(|x| x.split('"').next()).expect(text);
        x.parse().expect("a number")
    }

    #[test]
    fn the_name_of_an_axis_stands_beside_its_numbers() {
        for log_y in [true, false] {
            let options = ChartOptions {
                y_label: "loss",
                log_y,
                ..ChartOptions::default()
            };
            let points = curve("c", &[(0., 0.012), (1., 0.031), (2., 0.05)]);
            let svg = line_chart(&[points], &options).unwrap().unwrap();
            // Numbers end where they stand, and the name is as wide as a line is high.
            let begin = x_of(&svg, "0.02") - 4 * TEXT_PX * 6 / 10;
            let name = x_of(&svg, "loss") + TEXT_PX;
            assert!(name <= begin, "log {log_y}: {name} beyond {begin}");
        }
    }

    #[test]
    fn nothing_to_draw_is_none() {
        let options = ChartOptions {
            log_y: true,
            ..ChartOptions::default()
        };
        assert_eq!(line_chart(&[], &options).unwrap(), None);
        assert_eq!(
            line_chart(&[curve("zero", &[(0., 0.), (1., -1.)])], &options).unwrap(),
            None
        );
    }

    #[test]
    fn odd_ranges_are_drawn() {
        let odd: [&[(f64, f64)]; 5] = [
            &[(3., 7.)],
            &[(0., 0.), (1., 0.)],
            &[(0., 1e-12), (1e9, 2e12)],
            &[(5., 98.7654), (6., 98.7655)],
            &[(0., 1e-20), (1., 1e20)],
        ];
        for points in odd {
            for log_y in [false, true] {
                let svg = line_chart(
                    &[curve("c", points)],
                    &ChartOptions {
                        log_y,
                        ..ChartOptions::default()
                    },
                )
                .unwrap();
                let expected = points.iter().any(|p| !log_y || p.1 > 0.);
                assert_eq!(svg.is_some(), expected, "{points:?}");
            }
        }
    }

    #[test]
    fn legends_wrap() {
        let curves: Vec<Curve> = (0..9)
            .map(|i| curve(&format!("a network's name {i}"), &[(0., 1.)]))
            .collect();
        let places = legend_places(&curves);
        assert!(places.iter().all(|&(x, _)| x < WIDTH - MARGIN));
        assert_eq!(places[0], (MARGIN, 0));
        assert!(places[8].1 >= 2 && places.is_sorted_by_key(|&(x, line)| (line, x)));
        assert_eq!(label(&"ü".repeat(99)), "ü".repeat(60) + "…");
    }
}
