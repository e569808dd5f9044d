//! A chart as SVG. Its colours are slots (`#01000N` is the N-th curve): the page's style sheet fills them, light or dark.

use super::panels::{Chart, on_axis};
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, IntoDrawingArea as _, LineSeries, PathElement, RGBColor, SVGBackend, TRANSPARENT,
};
use plotters::style::{Color as _, IntoFont as _};

/// Three times what is shown: plotters has whole pixels.
const SIZE: (u32, u32) = (1_260, 480);
const TEXT: u32 = 46;
const CURVE_WIDTH: u32 = 6;
const GRID: RGBColor = RGBColor(2, 0, 0);
const THRESHOLD: RGBColor = RGBColor(4, 0, 0);
/// So long is the time axis at least, in minutes.
const SHORTEST: f64 = 5.0;

/// The colour slot of a curve, from 0.
const fn slot(index: usize) -> RGBColor {
    RGBColor(1, 0, if index < 8 { index as u8 + 1 } else { 8 })
}

/// The chart's drawing at moments in seconds, the last of which is now; `None` if there is nothing to draw.
/// The text is our own: `label` must be escaped.
pub(super) fn svg(chart: &Chart, times: &[f64], label: &str) -> Option<String> {
    let (first, last) = (times.first()?, times.last()?);
    if chart.curves.is_empty() {
        return None;
    }
    let mut drawing = String::new();
    let minutes = ((last - first) / 60.0).max(SHORTEST);
    let from_now: Vec<f64> = times.iter().map(|time| (time - last) / 60.0).collect();
    draw(chart, minutes, &from_now, &mut drawing).ok()?;
    let (_, inside) = drawing.split_once('>')?;
    let (width, height) = SIZE;
    Some(format!("<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{inside}"))
}

fn draw(chart: &Chart, minutes: f64, from_now: &[f64], into: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let area = SVGBackend::with_string(into, SIZE).into_drawing_area();
    let (low, high) = heights(chart);
    // An axis of minutes has round minutes: it is laid out in its own unit.
    let (by, shown) = axis_unit(chart.unit, high);
    let mut plot = ChartBuilder::on(&area)
        .margin_top(24)
        .margin_right(56)
        .margin_left(4)
        .x_label_area_size(70)
        .y_label_area_size(180)
        .build_cartesian_2d(-minutes..0.0, low / by..high / by)
        .map_err(|error| failed(&error))?;
    plot.configure_mesh()
        .x_labels(4)
        .y_labels(4)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(2))
        .axis_style(GRID.stroke_width(2))
        .label_style(("sans-serif", TEXT).into_font().color(&BLACK))
        .x_label_formatter(&|minutes| ago(*minutes))
        .y_label_formatter(&|value| on_axis(shown, *value))
        .draw()
        .map_err(|error| failed(&error))?;
    for threshold in chart.thresholds.iter().filter(|threshold| (low..=high).contains(*threshold)) {
        let line = vec![(-minutes, threshold / by), (0.0, threshold / by)];
        plot.draw_series([PathElement::new(line, THRESHOLD.stroke_width(3))]).map_err(|error| failed(&error))?;
    }
    for (index, curve) in chart.curves.iter().enumerate() {
        let points = from_now.iter().copied().zip(curve.points.iter().map(|point| point.map(|value| value / by)));
        for piece in pieces(points) {
            match piece.as_slice() {
                [alone] => plot
                    .draw_series([Circle::new(*alone, CURVE_WIDTH, slot(index).filled())])
                    .map(drop)
                    .map_err(|error| failed(&error))?,
                _ => plot
                    .draw_series(LineSeries::new(piece, slot(index).stroke_width(CURVE_WIDTH)))
                    .map(drop)
                    .map_err(|error| failed(&error))?,
            }
        }
    }
    area.present().map_err(|error| failed(&error))?;
    Ok(())
}

/// From where to where the values go: shares from 0 to 1, the rest from 0 to a little above the greatest.
fn heights(chart: &Chart) -> (f64, f64) {
    let values = || chart.curves.iter().flat_map(|curve| curve.points.iter().flatten().copied());
    let (least, most) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    match chart.unit {
        "percentunit" => (0.0, 1.02),
        _ if most > 0.0 => (least * 1.1, most * 1.1),
        _ => (least * 1.1, 1.0),
    }
}

/// In what an axis up to a value is laid out, as a multiple of the chart's unit, and the name of that.
fn axis_unit(unit: &'static str, high: f64) -> (f64, &'static str) {
    match unit {
        "s" if high >= 7_200.0 => (3_600.0, "h"),
        "s" if high >= 120.0 => (60.0, "min"),
        "s" if high < 1.0 => (0.001, "ms"),
        _ => (1.0, unit),
    }
}

/// Unbroken stretches of points.
fn pieces(points: impl Iterator<Item = (f64, Option<f64>)>) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = vec![Vec::new()];
    for (time, value) in points {
        match (value, pieces.last_mut()) {
            (Some(value), Some(piece)) => piece.push((time, value)),
            (None, Some(piece)) if !piece.is_empty() => pieces.push(Vec::new()),
            (Some(_) | None, _) => {}
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn ago(minutes: f64) -> String {
    if minutes > -0.01 { "now".to_owned() } else { format!("−{} min", super::templates::trimmed(-minutes, 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::panels::{Curve, Judgement};

    fn chart(unit: &'static str, points: Vec<Option<f64>>) -> Chart {
        let curve = Curve { name: "a".to_owned(), now: points.last().copied().flatten(), points };
        Chart { unit, curves: vec![curve], hidden: 0, thresholds: vec![0.95, 7.0], judgement: Judgement::Good }
    }

    /// What plotters was asked to draw, by its own elements.
    #[test]
    fn a_gap_breaks_the_line_and_a_lone_point_is_a_dot() {
        let times = [0.0, 60.0, 120.0, 180.0, 240.0, 300.0];
        let some = |value| Some(value);
        let points = vec![some(0.5), some(1.0), None, some(1.0), None, some(0.0)];
        let svg = svg(&chart("percentunit", points), &times, "Share").unwrap();
        assert!(
            svg.starts_with("<svg class=\"chart\" viewBox=\"0 0 1260 480\" role=\"img\" aria-label=\"Share\">"),
            "{svg}"
        );
        assert!(svg.ends_with("</svg>\n") && svg.matches("<svg").count() == 1, "{svg}");
        let curve =
            |element: &str, slot: &str| svg.lines().filter(|l| l.starts_with(element) && l.contains(slot)).count();
        assert_eq!((curve("<polyline", "stroke=\"#010001\""), curve("<circle", "fill=\"#010001\"")), (1, 2), "{svg}");
        // Of the thresholds, the one that lies in sight.
        assert_eq!(curve("<polyline", "stroke=\"#040000\""), 1, "{svg}");
        for shown in ["−4 min", "now", "50 %", "100 %"] {
            assert!(svg.contains(&format!("\n{shown}\n")), "{shown}: {svg}");
        }
        assert!(!svg.contains("style") && !svg.contains("http"), "{svg}");
    }

    #[test]
    fn without_curves_or_moments_there_is_no_drawing() {
        assert_eq!(svg(&chart("s", vec![]), &[], ""), None);
        assert_eq!(svg(&Chart { curves: vec![], ..chart("s", vec![]) }, &[1.0], ""), None);
        assert_eq!(heights(&chart("s", vec![None])), (0.0, 1.0));
        assert_eq!(heights(&chart("s", vec![Some(2.0), Some(10.0)])), (0.0, 11.0));
    }
}
