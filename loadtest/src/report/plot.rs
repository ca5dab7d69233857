//! report::plot – line charts as SVG whose colours follow the page, light or dark.
//!
//! Drawn here and not by a library, because colours are to be classes of the page's style sheet.
//!
//! Promises: every number in the markup is finite; ticks are round; text is escaped.
//! Not here: what is plotted (`html`).

use std::fmt::Write as _;

use super::units::short;
use crate::page::escape;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Points of a line; more cannot be told apart.
const POINTS_MAX: usize = 2_000;

/// A line with its name and its colour (1 to 5).
pub struct Line {
    pub name: &'static str,
    pub colour: u8,
    pub points: Vec<(f64, f64)>,
    /// Whether the ground below it is tinted.
    pub area: bool,
}

/// An axis from `least` to `most` with labelled places.
pub struct Axis {
    pub title: &'static str,
    pub least: f64,
    pub most: f64,
    pub logarithmic: bool,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a little above `most`, at round places.
    pub fn linear(title: &'static str, most: f64, label: impl Fn(f64) -> String) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let step = round_step(most / 5.0);
        let count = (most / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|number| f64::from(number) * step);
        let ticks = ticks.map(|value| (value, label(value))).collect();
        Self { title, least: 0.0, most: count * step, logarithmic: false, ticks }
    }

    /// Powers of ten, with 2 and 5 between if there are few.
    pub fn log(title: &'static str, least: f64, most: f64, label: impl Fn(f64) -> String) -> Self {
        let least = if least.is_finite() && least > 0.0 { least } else { 1.0 };
        let most = if most.is_finite() && most > least { most } else { least * 10.0 };
        let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        let between: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all = (first..=last)
            .flat_map(|power| between.iter().map(move |factor| factor * 10_f64.powi(power)));
        let all: Vec<f64> = all.collect();
        // The range ends at the ticks around it.
        let low = all.iter().copied().rfind(|&tick| tick <= least * 1.0001);
        let high = all.iter().copied().find(|&tick| tick >= most * 0.9999);
        let (low, high) = (low.unwrap_or(least), high.unwrap_or(most));
        let ticks = all.into_iter().filter(|tick| (low..=high).contains(tick));
        let ticks = ticks.map(|value| (value, label(value))).collect();
        Self { title, least: low, most: high, logarithmic: true, ticks }
    }

    /// Where `value` lies, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let at = |value: f64| if self.logarithmic { value.max(1e-12).log10() } else { value };
        let (least, most) = (at(self.least), at(self.most));
        let span = if most > least { most - least } else { 1.0 };
        ((at(value) - least) / span).clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, not below `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.9999);
    factor.unwrap_or(10.0) * power
}

/// The chart with its legend.
pub fn chart(x: &Axis, y: &Axis, height: f64, lines: &[Line]) -> String {
    let mut html = String::from("<p class=\"legend\">");
    for line in lines {
        let _ = write!(html, "<span class=\"k{}\">{}</span>", line.colour, escape(line.name));
    }
    let _ = write!(
        html,
        "</p>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{} by {}\">\n",
        escape(y.title),
        escape(x.title)
    );
    let across = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
    let down = |value: f64| height - BOTTOM - y.place(value) * (height - TOP - BOTTOM);
    let base = height - BOTTOM;
    for (value, label) in &y.ticks {
        let at = down(*value);
        let _ = writeln!(
            html,
            "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            escape(&short(label))
        );
    }
    for (value, label) in &x.ticks {
        let at = across(*value);
        let _ = writeln!(
            html,
            "<line class=\"rule\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{base}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            base + 16.0,
            escape(&short(label))
        );
    }
    let _ = writeln!(
        html,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/>\
         <text class=\"name\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        WIDTH - RIGHT,
        (LEFT + WIDTH - RIGHT) / 2.0,
        height - 4.0,
        escape(x.title)
    );
    for line in lines {
        let points = thinned(&line.points);
        let path: Vec<String> = points
            .iter()
            .filter(|(at, value)| at.is_finite() && value.is_finite())
            .map(|(at, value)| format!("{:.1} {:.1}", across(*at), down(*value)))
            .collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let path = path.join(" L");
        if line.area {
            let _ = writeln!(
                html,
                "<path class=\"area f{}\" d=\"M{:.1} {base} L{path} L{:.1} {base} Z\"/>",
                line.colour,
                across(first.0),
                across(last.0)
            );
        }
        let _ = writeln!(html, "<path class=\"line s{}\" d=\"M{path}\"/>", line.colour);
    }
    html.push_str("</svg>\n");
    html
}

/// At most `POINTS_MAX` of them: of each group the one with the greatest value, so that peaks stay.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    let greatest =
        |chunk: &[(f64, f64)]| chunk.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1));
    points.chunks(group).filter_map(greatest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let ticks = |axis: Axis| axis.ticks.iter().map(|tick| tick.0).collect::<Vec<_>>();
        let plain = |value: f64| value.to_string();
        assert_eq!(ticks(Axis::linear("", 93.0, plain)), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(Axis::log("", 3.0, 40.0, plain)), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(ticks(Axis::log("", 3.0, 4e4, plain)), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]);
    }

    #[test]
    fn nonsense_does_not_get_into_the_markup() {
        let strange = [0.0, -1.0, f64::NAN, f64::INFINITY];
        for most in strange {
            let x = Axis::linear("<x>", most, |value| value.to_string());
            let y = Axis::log("y", most, most, |value| value.to_string());
            let points = strange.iter().map(|&value| (value, value)).collect();
            let line = Line { name: "a<b", colour: 1, points, area: true };
            let svg = chart(&x, &y, 240.0, &[line]);
            for word in ["NaN", "inf", "<x>", "a<b"] {
                assert!(!svg.contains(word), "{word} in {svg}");
            }
        }
    }

    #[test]
    fn peaks_survive_thinning() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|at| (f64::from(at), 1.0)).collect();
        points[77_777].1 = 50.0;
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS_MAX);
        assert!(thin.iter().any(|point| point.1 == 50.0));
    }
}
