//! Tables that never break a cell: what is empty is left out, and on a narrow terminal the columns
//! that matter least are shortened and then left out too.

use super::{on_terminal, shortened, terminal_width};
use textwrap::core::display_width;

/// A column, and how it shrinks.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub(crate) header: &'static str,
    pub(crate) shrink: Shrink,
}

/// How a column shrinks. The column of the lowest rank shrinks first.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Shrink {
    Never,
    /// Cut to no less than this width.
    Cut(usize),
    /// Dropped.
    Drop(u8),
    /// Cut to no less than this width first, then dropped.
    CutThenDrop(usize, u8),
}

const GAP: usize = 2;

/// Lays the table out for the terminal. Without one each row is whole, however long: it may be
/// meant for grep.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let width = if on_terminal() {
        terminal_width()
    } else {
        usize::MAX
    };
    laid_out(columns, rows, width)
}

fn laid_out(columns: &[Column], rows: &[Vec<String>], width: usize) -> String {
    let mut shown: Vec<(usize, Column, usize)> = columns
        .iter()
        .enumerate()
        .filter(|(position, _)| {
            rows.iter()
                .any(|row| row.get(*position).is_some_and(|cell| !cell.is_empty()))
        })
        .map(|(position, &column)| {
            let cells = rows.iter().filter_map(|row| row.get(position));
            let widest = cells.map(|cell| display_width(cell)).max().unwrap_or(0);
            (position, column, widest.max(column.header.len()))
        })
        .collect();
    while let Some(excess) = excess(&shown, width) {
        if !give(&mut shown, excess) {
            break;
        }
    }
    let line = |cell: &dyn Fn(usize, &Column) -> String| {
        let mut line = String::new();
        for (position, column, width) in &shown {
            let text = shortened(&cell(*position, column), *width);
            line += &text;
            line += &" ".repeat(width.saturating_sub(display_width(&text)) + GAP);
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = line(&|_, column| column.header.to_owned());
    for row in rows {
        text += &line(&|position, _| row.get(position).cloned().unwrap_or_default());
    }
    text
}

/// How many columns the table exceeds the width by.
fn excess(shown: &[(usize, Column, usize)], width: usize) -> Option<usize> {
    let total: usize = shown.iter().map(|(_, _, width)| width + GAP).sum();
    total
        .saturating_sub(GAP)
        .checked_sub(width)
        .filter(|&excess| excess > 0)
}

/// Shrinks the column whose turn it is; returns whether there was one.
fn give(shown: &mut Vec<(usize, Column, usize)>, excess: usize) -> bool {
    let next = (0..shown.len())
        .filter(|&at| match shown[at].1.shrink {
            Shrink::Never => false,
            Shrink::Cut(least) => shown[at].2 > least,
            Shrink::Drop(_) | Shrink::CutThenDrop(..) => true,
        })
        .min_by_key(|&at| match shown[at].1.shrink {
            Shrink::Drop(rank) | Shrink::CutThenDrop(_, rank) => rank,
            Shrink::Cut(_) | Shrink::Never => u8::MAX,
        });
    let Some(at) = next else { return false };
    let (_, column, width) = &mut shown[at];
    match column.shrink {
        Shrink::Cut(least) => *width = width.saturating_sub(excess).max(least),
        Shrink::CutThenDrop(least, _) if *width > least => {
            *width = width.saturating_sub(excess).max(least);
        }
        Shrink::Drop(_) | Shrink::CutThenDrop(..) | Shrink::Never => {
            shown.remove(at);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column {
            header: "STATE",
            shrink: Shrink::Never,
        },
        Column {
            header: "PEER",
            shrink: Shrink::Drop(1),
        },
        Column {
            header: "HELD BY",
            shrink: Shrink::Cut(7),
        },
        Column {
            header: "COMMAND",
            shrink: Shrink::CutThenDrop(8, 0),
        },
    ];

    #[test]
    fn gives_room_by_rank_and_breaks_no_cell() {
        let row = |cells: [&str; 4]| cells.map(ToOwned::to_owned).to_vec();
        let rows = [
            row([
                "LISTEN",
                "127.0.0.1:5000",
                "python3 (pid 7)",
                "python3 server.py",
            ]),
            row(["TIME_WAIT", "", "no process", ""]),
        ];
        for (width, expected) in [
            (
                usize::MAX,
                "STATE      PEER            HELD BY          COMMAND\n",
            ),
            (52, "STATE      PEER            HELD BY          COMMAND\n"),
            (45, "STATE      PEER            HELD BY\n"),
            (30, "STATE      HELD BY\n"),
        ] {
            let text = laid_out(&COLUMNS, &rows, width);
            assert!(text.starts_with(expected), "{width}: {text}");
            assert!(
                text.lines().all(|line| display_width(line) <= width),
                "{width}: {text}"
            );
            assert_eq!(text.lines().count(), 3);
        }
        assert!(laid_out(&COLUMNS, &rows, 52).contains("python3…"));
        assert!(
            laid_out(&COLUMNS, &rows, 20).contains("python3 …"),
            "{}",
            laid_out(&COLUMNS, &rows, 20)
        );
    }

    #[test]
    fn leaves_out_what_is_empty() {
        let rows = [vec![
            "LISTEN".to_owned(),
            String::new(),
            "sh".to_owned(),
            String::new(),
        ]];
        assert_eq!(
            laid_out(&COLUMNS, &rows, 80),
            "STATE   HELD BY\nLISTEN  sh\n"
        );
    }
}
