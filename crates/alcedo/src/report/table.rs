//! Columns for data: aligned, never cut, two or three spaces apart.

use super::fold::{USUAL, columns};

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a head. In a terminal narrower than usual, what does not fit is told row by row instead, since a terminal
/// that wraps columns makes them unreadable.
pub(crate) fn table(
    head: &[(&str, Align)],
    rows: &[Vec<String>],
    gap: usize,
    width: usize,
) -> Vec<String> {
    let lines = aligned(head, rows, gap);
    let fits = width >= USUAL || lines.iter().all(|line| columns(line) <= width);
    if fits { lines } else { rows.iter().flat_map(|row| told(head, row)).collect() }
}

/// The first cell, and below it the others with their titles.
fn told(head: &[(&str, Align)], row: &[String]) -> Vec<String> {
    let titles = head.iter().map(|(title, _)| columns(title.trim())).max().unwrap_or(0);
    let others = head.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty());
    let first = row.first().map(|cell| format!("  {cell}"));
    first
        .into_iter()
        .chain(others.map(|((title, _), cell)| format!("    {:<titles$}  {cell}", title.trim())))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn aligned(head: &[(&str, Align)], rows: &[Vec<String>], gap: usize) -> Vec<String> {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| columns(cell));
        cells.chain([columns(head[at].0)]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[at].saturating_sub(columns(cell)));
            let gap = if at == 0 { String::new() } else { " ".repeat(gap) };
            match head[at].1 {
                Align::Left => text.push_str(&format!("{gap}{cell}{pad}")),
                Align::Right => text.push_str(&format!("{gap}{pad}{cell}")),
            }
        }
        format!("  {}", text.trim_end())
    };
    let titles = line(head.iter().map(|(title, _)| *title).collect());
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(titles).chain(body).map(|line| line.trim_end().to_owned()).collect()
}

/// `1,204`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `212 MiB`, `14.2 GiB`, `3 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "sizes are shown with at most four digits")]
    let mib = bytes as f64 / (1024.0 * 1024.0);
    match mib {
        m if m >= 10_000.0 => format!("{:.1} GiB", m / 1024.0),
        m if m >= 100.0 => format!("{} MiB", grouped(bytes >> 20)),
        m if m >= 0.1 => format!("{m:.1} MiB"),
        _ => format!("{} KiB", bytes.div_ceil(1024)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_have_the_unit_that_fits() {
        assert_eq!([0, 999, 1_204, 1_000_000].map(grouped), ["0", "999", "1,204", "1,000,000"]);
        let sizes = [512, 300 << 10, 12_373_196, 212 << 20, 15_247_000_000].map(size);
        assert_eq!(sizes, ["1 KiB", "0.3 MiB", "11.8 MiB", "212 MiB", "14.2 GiB"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bbb".to_owned(), "22".to_owned()]];
        let head = [("x", Align::Left), ("n", Align::Right)];
        let wide = table(&head, &rows, 2, 80);
        assert_eq!(wide, ["  x     n", "  a     1", "  bbb  22"]);
        assert_eq!(table(&head, &rows, 2, 9), wide);
        assert_eq!(table(&head, &rows, 2, 8), ["  a", "    n  1", "  bbb", "    n  22"]);
    }
}
